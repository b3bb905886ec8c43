"""Clipped gradients of BackPACK's per-example gradients, `BatchGrad`."""

from typing import Any

import torch
from backpack import backpack, extend
from backpack.extensions import BatchGrad
from torch import nn

from benchmarks.per_example.backpack_layers import extended, saved
from benchmarks.per_example.draws import MAX_NORM
from benchmarks.per_example.torch_programs import check_memory, norm, problem, waited
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)
    check_memory(given)
    network, (x, y) = extended(given.network), given.batch
    criterion = extend(nn.CrossEntropyLoss(reduction="sum"))
    sums: list[Any] = []

    def clipped() -> None:
        network.zero_grad()
        with backpack(BatchGrad()):
            criterion(network(x).flatten(0, -2), y.flatten()).backward()
        grads = [grad.flatten(1) for grad in saved(network, "grad_batch")]
        norms = torch.stack([grad.norm(dim=1) for grad in grads]).norm(dim=0)
        factors = (MAX_NORM / norms).clamp(max=1)
        sums[:] = [torch.einsum("b,bn->n", factors, grad) for grad in grads]

    run = waited(clipped)
    run()
    return Program(run, proof=(None, None, norm(sums)))
