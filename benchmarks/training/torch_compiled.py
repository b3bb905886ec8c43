"""PyTorch, the network compiled by `torch.compile`; the optimizer is a fused kernel."""

import time

import torch

from benchmarks.suite import Program, RefusedError
from benchmarks.training.networks import Case
from benchmarks.training.torch_networks import CUDA, program

BATCH = 128  # on a CPU, where compilation takes up to a minute


def build(name: str) -> Program:
    """Return the step of a case; what its first steps take is mostly compilation."""
    if not CUDA and Case.parse(name).batch != BATCH:
        raise RefusedError(f"measured at batch {BATCH} only")
    torch.compiler.reset()
    began = time.perf_counter()
    try:
        made = program(name, torch.compile)
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise RefusedError(f"can't be compiled here: {error}") from error
    seconds = time.perf_counter() - began
    return made._replace(figures=dict(made.figures) | {"compile, s": seconds})
