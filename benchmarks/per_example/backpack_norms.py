"""BackPACK's norms of per-example gradients, `BatchL2Grad`."""

from typing import Any

import torch
from backpack import backpack, extend
from backpack.extensions import BatchL2Grad
from torch import nn

from benchmarks.per_example.backpack_layers import extended, saved
from benchmarks.per_example.torch_programs import norm, problem, waited
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)
    network, (x, y) = extended(given.network), given.batch
    criterion = extend(nn.CrossEntropyLoss(reduction="sum"))
    norms: list[Any] = []

    def measure() -> None:
        network.zero_grad()
        with backpack(BatchL2Grad()):
            criterion(network(x).flatten(0, -2), y.flatten()).backward()
        norms[:] = [torch.stack(saved(network, "batch_l2")).sum(0).sqrt()]

    run = waited(measure)
    run()
    return Program(run, proof=(None, norm(norms), None))
