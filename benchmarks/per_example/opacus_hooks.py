"""Opacus's per-example gradients, formed by hooks, clipped and summed."""

from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import optim

from benchmarks.per_example.draws import MAX_NORM
from benchmarks.per_example.torch_programs import (
    check_memory,
    cross_entropy,
    norm,
    problem,
    waited,
)
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case, private=True)
    check_memory(given)
    network, (x, y) = GradSampleModule(given.network), given.batch
    sgd = optim.SGD(network.parameters(), 0.1)
    optimizer = DPOptimizer(
        sgd, noise_multiplier=0.0, max_grad_norm=MAX_NORM, expected_batch_size=len(y)
    )

    def clipped() -> None:
        optimizer.zero_grad()
        cross_entropy(network(x), y).backward()
        optimizer.clip_and_accumulate()

    run = waited(clipped)
    run()
    summed = [p.summed_grad for p in network.parameters()]
    return Program(run, proof=(None, None, norm(summed)))
