"""Products of matrices by PyTorch."""

import torch

from benchmarks.ceiling import CHAIN, parse
from benchmarks.ceiling.matrices import matrices
from benchmarks.suite import Program

CUDA = torch.cuda.is_available()


def chain(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return A x, A A x and so on, once they are computed."""
    for _ in range(CHAIN):
        x = a @ x
    if CUDA:
        torch.cuda.synchronize()
    return x


def build(name: str) -> Program:
    """Return the products of a case."""
    torch.set_float32_matmul_precision("high")  # on a GPU, as JAX
    size, dtype = parse(name)
    device = "cuda" if CUDA else "cpu"
    kind = getattr(torch, dtype)
    a, x = (torch.tensor(array, dtype=kind, device=device) for array in matrices(size))
    return Program(lambda: chain(a, x), {}, [chain(a, x).float().norm().item()])
