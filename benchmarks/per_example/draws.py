"""Weights and data that every framework can load: NumPy's, drawn by path and shape."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite import RefusedError

CLASSES = 10
MAX_NORM = 1.0
OFFSETS, SCALES, TABLES = ("bias", "shift"), ("scale",), ("table", "tokens", "places")


def generator(name: str) -> np.random.Generator:
    """Return the generator that belongs to a name."""
    return np.random.default_rng([0, *name.encode()])


def weights(path: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array at a path, in the layout of fnn: a kernel is (..., in, out)."""
    drawn = generator(path).standard_normal(shape, dtype=np.float32)
    name = path.rpartition("/")[2]
    if name in OFFSETS:
        return 0.1 * drawn
    if name in SCALES:
        return 1 + 0.1 * drawn
    if name in TABLES:
        return drawn
    return drawn / np.float32(math.sqrt(math.prod(shape[:-1])))


def normal(*shape: int) -> NDArray[Any]:
    """Return inputs."""
    return generator("inputs").standard_normal(shape, dtype=np.float32)


def integers(name: str, below: int, *shape: int) -> NDArray[Any]:
    """Return labels, or ids."""
    return generator(name).integers(below, size=shape, dtype=np.int32)


def split(case: str) -> tuple[str, int]:
    """Return the network of a case, and how many examples a batch has."""
    network, batch = case.split(", batch ")
    return network, int(batch)


def check_memory(parameters: int, examples: int, limit: int) -> None:
    """Refuse to form a gradient for each example, where these are too large."""
    nbytes = 4 * parameters * examples
    if nbytes > limit:
        raise RefusedError(f"would form {nbytes / 2**30:.1f} GiB of gradients")
