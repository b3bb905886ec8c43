"""PyTorch, eager."""

from benchmarks.suite import Program
from benchmarks.training.torch_networks import program


def build(name: str) -> Program:
    """Return the step of a case."""
    return program(name)
