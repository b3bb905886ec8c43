"""Data to evaluate on, in any of the forms that training takes."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from fnn.data.streaming import Memory, Streamed, prefetched, take
from fnn.sharding import Layout
from fnn.training.inputs import as_batch, on_device, replicated
from fnn.types import Batch, PyTree

BYTES_PER_CHUNK = 2**24
SAMPLE = 256


class HeldOut(NamedTuple):
    """Examples by which functions are checked, and what reads all, chunk by chunk."""

    sample: tuple[PyTree, PyTree]
    chunks: Callable[[], Generator[Batch]]


def held_out(data: Any, name: str, layout: Layout | None = None) -> HeldOut:
    """Return data to evaluate on.

    Raises:
        TypeError: If it is no pair, no `Streamed` and no iterable of batches.
        ValueError: If it is empty, differs in length, is not finite, or can be read once.
    """
    if isinstance(data, Streamed):
        memory = Memory()  # which all passes use
        return HeldOut(sample_of(data), lambda: _read(data, memory, layout))
    if isinstance(data, tuple | list | dict) or not hasattr(data, "__iter__"):
        arrays = on_device(data, name, layout)
        return HeldOut(arrays, lambda: (part for part in [arrays]))
    batches = iter(data)
    if batches is data:
        raise ValueError(
            f"{name} is an iterator, {data!r}, which can be read once; give an iterable"
        )
    first = next(batches, None)
    if first is None:
        raise ValueError(f"{name} gives no batch: {data!r}")
    x, y, *_ = as_batch(first)
    return HeldOut((x, y), lambda: _load(data, layout))


def sample_of(data: Streamed) -> tuple[PyTree, PyTree]:
    """Return the first examples."""
    return take(data, np.arange(min(SAMPLE, len(data))), Memory())


def examples_per_chunk(data: Streamed, multiple_of: int = 1) -> int:
    """Return how many examples are put on the device at a time."""
    nbytes = max(1, multiple_of * data.bytes_per_example)
    return multiple_of * max(1, BYTES_PER_CHUNK // nbytes)


def _read(data: Streamed, memory: Memory, layout: Layout | None) -> Generator[Batch]:
    size = examples_per_chunk(data)
    bounds = range(0, len(data), size)
    rows = (np.arange(first, min(first + size, len(data))) for first in bounds)
    chunks = (replicated(take(data, chosen, memory), layout) for chosen in rows)
    with prefetched(chunks) as ready:
        yield from ready


def _load(data: Any, layout: Layout | None) -> Generator[Batch]:
    chunks = (replicated(as_batch(batch), layout) for batch in data)
    with prefetched(chunks) as ready:
        yield from ready
