"""Shared by the rivals in PyTorch: problems, their limits, and their proofs."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.per_example import draws
from benchmarks.per_example.torch_networks import DEVICE, NETWORKS, TorchProblem

CPU_LIMIT = 2**30

warnings.simplefilter("ignore")


def problem(case: str, *, private: bool = False) -> TorchProblem:
    """Return the problem of a case, of Opacus's own recurrent layers if private."""
    network, count = draws.split(case)
    return NETWORKS[network](count, private)


def check_memory(given: TorchProblem) -> None:
    """Refuse to form a gradient for each example, where these are too large."""
    on_gpu = DEVICE == "cuda"
    limit = torch.cuda.mem_get_info()[1] // 4 if on_gpu else CPU_LIMIT
    parameters = sum(p.numel() for p in given.network.parameters())
    draws.check_memory(parameters, len(given.batch[0]), limit)


def cross_entropy(logits: Any, labels: Any, reduction: str = "mean") -> Any:
    """Return the loss, of every position of a sequence too."""
    logits = logits.flatten(0, -2)
    return functional.cross_entropy(logits, labels.flatten(), reduction=reduction)


def waited(run: Callable[[], None]) -> Callable[[], None]:
    """Return a call that ends when the device has done what it was given."""

    def waiting() -> None:
        run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return waiting


def norm(tensors: Iterable[Any]) -> float:
    """Return the norm of tensors together."""
    return float(sum(t.double().square().sum() for t in tensors) ** 0.5)
