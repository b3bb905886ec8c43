"""Loops in PyTorch, over a `DataLoader` and over rows of tensors."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.epoch import BATCH
from benchmarks.epoch.data import mnist
from benchmarks.suite import Program
from benchmarks.training.networks import RATE
from benchmarks.training.torch_networks import CUDA, exact, initial

DEVICE = "cuda" if CUDA else "cpu"


def program(case: str, batches: Callable[[Any, Any], Iterable[Any]]) -> Program:
    """Return an epoch of a case over batches."""
    torch.set_flush_denormal(True)  # as XLA does
    torch.manual_seed(0)
    exact(False)
    model = initial(case)
    adam = torch.optim.Adam(model.parameters(), RATE, fused=True)
    x, y = (torch.from_numpy(array) for array in mnist(case))
    x, y = x.permute(0, 3, 1, 2) if x.ndim == 4 else x, y.long()

    def run() -> float:
        losses = []
        for images, labels in batches(x, y):
            adam.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            adam.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    return Program(run, {}, [run() for _ in range(2)])


def loader(case: str) -> Program:
    """Return an epoch of a case by a `DataLoader`, in this process."""

    def batches(x: Any, y: Any) -> Iterable[Any]:
        data = TensorDataset(x, y)
        for images, labels in DataLoader(data, BATCH, shuffle=True, pin_memory=CUDA):
            yield images.to(DEVICE), labels.to(DEVICE)

    return program(case, batches)


def tensors(case: str) -> Program:
    """Return an epoch of a case by rows of tensors, which lie on the device."""

    def batches(x: Any, y: Any) -> Iterable[Any]:
        x, y = x.to(DEVICE), y.to(DEVICE)
        for rows in torch.randperm(len(x), device=DEVICE).split(BATCH):
            yield x[rows], y[rows]

    return program(case, batches)
