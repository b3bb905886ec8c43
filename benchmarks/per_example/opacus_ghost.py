"""Opacus's ghost clipping: norms without gradients, and a second backward pass."""

from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn, optim

from benchmarks.per_example.draws import MAX_NORM
from benchmarks.per_example.torch_programs import norm, problem, waited
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    plain, (x, y) = problem(case, private=True)
    network = GradSampleModuleFastGradientClipping(
        plain, max_grad_norm=MAX_NORM, use_ghost_clipping=True
    )
    sgd = optim.SGD(network.parameters(), 0.1)
    optimizer = DPOptimizerFastGradientClipping(
        sgd, noise_multiplier=0.0, max_grad_norm=MAX_NORM, expected_batch_size=len(y)
    )
    criterion = DPLossFastGradientClipping(network, optimizer, nn.CrossEntropyLoss())
    shape = y.shape if y.ndim > 1 else None  # of sequences, the example is the whole

    def clipped() -> None:
        optimizer.zero_grad()
        criterion(network(x).flatten(0, -2), y.flatten(), shape=shape).backward()

    run = waited(clipped)
    run()
    return Program(run, proof=(None, None, norm(p.grad for p in network.parameters())))
