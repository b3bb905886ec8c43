"""PyTorch's gradient of the mean loss."""

from benchmarks.per_example.torch_programs import cross_entropy, norm, problem, waited
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    network, (x, y) = problem(case)

    def step() -> None:
        network.zero_grad()
        cross_entropy(network(x), y).backward()

    run = waited(step)
    run()
    return Program(run, proof=(norm(p.grad for p in network.parameters()), None, None))
