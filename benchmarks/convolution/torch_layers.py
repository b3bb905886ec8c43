"""PyTorch's layers, with the channels last in memory, as it recommends."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.convolution.work import RATE, REPEATS, Work, images, kernel, parse
from benchmarks.suite import Program

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def tensor(array: Any, *axes: int) -> Any:
    """Return an array with its axes in PyTorch's order, but channels last in memory."""
    moved = torch.from_numpy(np.transpose(array, axes).copy()).to(DEVICE)
    return moved.contiguous(memory_format=torch.channels_last)


def forward(work: Work, x: Any, *weights: Any) -> Any:
    """Return the output of the layer."""
    if work.pool == "max":
        return functional.max_pool2d(x, work.size, work.stride)
    if work.pool:
        return functional.avg_pool2d(x, work.size, work.stride)
    margin = work.size // 2
    return functional.conv2d(x, *weights, padding=margin, groups=work.groups)


def build(case: str) -> Program:
    """Make a case ready."""
    work = parse(case)
    given = [tensor(images(work), 0, 3, 1, 2)]
    if not work.pool:
        given.append(tensor(kernel(work), 3, 2, 0, 1))

    def gradients(tensors: Any) -> Any:
        leaves = [t.detach().requires_grad_() for t in tensors]
        y = forward(work, *leaves)
        y.backward(torch.clamp(y.detach(), -1, 1))
        return [leaf.grad for leaf in leaves]

    def run() -> Any:
        result = given if work.loop else gradients(given)
        for _ in range(REPEATS if work.loop else 0):
            grads = gradients(result)
            result = [t - RATE * g for t, g in zip(result, grads, strict=True)]
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return result

    return Program(run, proof=[float(t.double().norm()) for t in run()])
