"""Data to evaluate on, in any of the forms that training takes."""

import math
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.data.streaming import Memory, Streamed, prefetched, take
from fnn.sharding import Layout
from fnn.training.placing import as_batch, first_batch, on_device, replicated
from fnn.types import Batch, NDArray, PyTree

BYTES_PER_CHUNK = 2**24
SAMPLE = 256
BYTES_PER_LABEL = 64
LABELS_AT_ONCE = 2**20


class HeldOut(NamedTuple):
    """Examples by which functions are checked, and what reads all, chunk by chunk."""

    sample: tuple[PyTree, PyTree]
    chunks: Callable[[], Generator[Batch]]
    rows: NDArray | None = None  # which examples the sample has, where not the first


def held_out(data: Any, name: str, layout: Layout | None = None) -> HeldOut:
    """Return data to evaluate on.

    Raises:
        TypeError: If it is not a pair, not a `Streamed` and not an iterable of batches.
        ValueError: If it is empty, differs in length, is not finite, or can be read once.
    """
    if isinstance(data, Streamed):
        memory = Memory()  # which all passes use
        rows = sample_rows(data)
        sample = take(data, rows, Memory())
        return HeldOut(sample, lambda: _read(data, memory, layout), rows)
    pair = isinstance(data, tuple | list | dict | str) or hasattr(data, "shape")
    if pair or not hasattr(data, "__iter__"):
        arrays = on_device(data, name, layout)
        return HeldOut(arrays, lambda: (part for part in [arrays]))
    batches = iter(data)
    if batches is data:
        raise ValueError(
            f"{name} is an iterator, {checks.describe(data)}, which can be read once; "
            f"give an iterable"
        )
    first = next(batches, None)
    if first is None:
        raise ValueError(f"{name} gives no batch: {checks.describe(data)}")
    x, y, *_ = first_batch(first)
    return HeldOut((x, y), lambda: _load(data, layout))


def sample_rows(data: Streamed) -> NDArray:
    """Return the first examples, and those of the least and the largest labels.

    Labels are integers of few bytes, of which all are read: a class that there is not would
    else be met in the middle of training. Other targets may be as large as the inputs.
    """
    first = np.arange(min(SAMPLE, len(data)))
    labels = [
        leaf
        for leaf in jax.tree.leaves(data.y)
        if np.issubdtype(leaf.dtype, np.integer)
        and leaf.dtype.itemsize * math.prod(leaf.shape[1:]) <= BYTES_PER_LABEL
    ]
    return np.concatenate([first, *map(_extremes, labels)])


def _extremes(labels: Any) -> NDArray:
    """Return the numbers of the examples with the least and the largest label."""
    least, most = [], []
    for first in range(0, len(labels), LABELS_AT_ONCE):
        rows = np.arange(first, min(first + LABELS_AT_ONCE, len(labels)))
        inside = labels[rows[0] : rows[-1] + 1] if isinstance(labels, np.ndarray) else None
        part = np.asarray(labels[rows] if inside is None else inside).reshape(len(rows), -1)
        least.append((part.min(), first + part.min(1).argmin()))
        most.append((part.max(), first + part.max(1).argmax()))
    return np.array([min(least)[1], max(most)[1]])


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
