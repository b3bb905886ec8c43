"""PyTorch's ordinary step and Opacus's ghost clipping, in a process of their own.

    python -m benchmarks.per_example.torch_side NETWORK

Prints the number of parameters and why Opacus refuses the network, or nothing; then, for
each line that it reads, a number of repeats, the seconds of a step of each. In between it
is idle, so that it can take turns with another process without fighting for cores.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from benchmarks.per_example.torch_networks import NETWORKS, TorchProblem

WARM_UP = 3


def ordinary(problem: TorchProblem) -> Callable[[], Any]:
    """Return the call that computes the gradient of the mean loss."""
    network, (x, y) = problem.network, problem.batch
    criterion = nn.CrossEntropyLoss()

    def run() -> None:
        network.zero_grad()
        logits = network(x)
        criterion(logits.flatten(0, -2), y.flatten()).backward()

    return run


def ghost(problem: TorchProblem) -> Callable[[], Any]:
    """Return the call that computes the clipped gradient by ghost clipping."""
    x, y = problem.batch
    network = GradSampleModuleFastGradientClipping(
        problem.private, max_grad_norm=1.0, use_ghost_clipping=True
    )
    sgd = torch.optim.SGD(network.parameters(), 0.1)
    optimizer = DPOptimizerFastGradientClipping(
        sgd, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=len(y)
    )
    criterion = DPLossFastGradientClipping(network, optimizer, nn.CrossEntropyLoss())

    def run() -> None:
        optimizer.zero_grad()
        logits = network(x)
        shape = y.shape if y.ndim > 1 else None  # of sequences, the example is the whole
        criterion(logits.flatten(0, -2), y.flatten(), shape=shape).backward()

    return run


def refusal(run: Callable[[], Any]) -> str:
    """Return why a call fails, or nothing."""
    try:
        for _ in range(WARM_UP):
            run()
    except (NotImplementedError, RuntimeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
    return ""


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Return the mean time of a call, after one that wakes the threads."""
    run()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - began) / repeats


def main(name: str) -> None:
    """Serve the measurements of one network."""
    warnings.simplefilter("ignore")
    problem = NETWORKS[name]()
    calls = {"ordinary": ordinary(problem), "ghost": ghost(problem)}
    size = sum(p.numel() for p in problem.network.parameters())
    refusal(calls["ordinary"])
    refused = refusal(calls["ghost"])
    if refused:
        del calls["ghost"]
    print(json.dumps({"parameters": size, "refused": refused}), flush=True)
    for repeats in sys.stdin:
        times = {rival: seconds(run, int(repeats)) for rival, run in calls.items()}
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
