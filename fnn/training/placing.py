"""Data put on the device, after a look at whether it is what training takes."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from fnn import checks, tree
from fnn.data.streaming import Streamed
from fnn.platforms import target
from fnn.sharding import Layout
from fnn.types import Array, Batch, NDArray, PyTree

CACHE_LINE = 64
"""JAX on the CPU keeps NumPy's memory without a copy if its address is a multiple of it."""
BYTES_PER_CHUNK = 2**24
"""How much of a `Streamed` is put on the device at a time."""
SAMPLE = 256
"""The first examples of a `Streamed`, by which functions are checked."""
BYTES_PER_LABEL = 64
"""Targets of at most this size per example are read in full, to find the extremes."""
LABELS_AT_ONCE = 2**20


def on_device(data: Any, name: str, layout: Layout | None = None) -> tuple[PyTree, PyTree]:
    """Return inputs and targets as arrays on the device, or on every device of a mesh.

    Raises:
        TypeError: If `data` is not a pair of arrays of numbers, or of trees of them.
        ValueError: If the pair is empty, differs in length or is not finite.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        hint = "; fnn.data.split divides data" if isinstance(data, float) else ""
        raise TypeError(f"{name} must be a pair (x, y), got {checks.describe(data)}{hint}")
    checks.arrays({"x": data[0], "y": data[1]}, name)
    if not jax.tree.leaves(data[0]):
        raise ValueError(f"{name} x must be an array, got {checks.describe(data[0])}")
    arrays = jax.tree.map(put_copy, tuple(data))
    if checks.leading_length({"x": arrays[0], "y": arrays[1]}, name) == 0:
        raise ValueError(f"{name} is empty: x {checks.describe(arrays[0])}")
    for path, leaf in tree.flatten({"x": arrays[0], "y": arrays[1]}).items():
        _check_finite(leaf, f"{name} {path}")
    return replicated(arrays, layout)


def replicated(arrays: tuple[PyTree, PyTree], layout: Layout | None) -> Any:
    """Return arrays on every device of a mesh, if there is one."""
    return arrays if layout is None else layout.place_everywhere(arrays)


def as_batch(batch: Any) -> Batch:
    """Return a batch `(x, y)` or `(x, y, weights)` with its arrays on the device.

    They are copies, as loaders may use their buffers again.
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TypeError(
            f"a batch must be (x, y) or (x, y, weights), got {checks.describe(batch)}"
        )
    try:
        arrays = jax.tree.map(_as_array, tuple(batch))
    except Exception:
        _check_batch(batch)
        raise
    if checks.leading_length(arrays, "a batch") == 0:
        raise ValueError(f"a batch is empty: {checks.describe(arrays)}")
    # To look at an array on the device would wait for what computes it.
    if not isinstance(batch[-1], jax.Array):
        _check_weights(*batch[2:])
    return arrays


def first_batch(batch: Any) -> Batch:
    """Return a batch as `as_batch` does, after a closer look at its arrays."""
    if isinstance(batch, tuple | list):
        _check_batch(batch)
        _check_weights(*batch[2:])
    return as_batch(batch)


def put_copy(leaf: Any) -> Array:
    """Return an array of JAX's as it is, and any other array as a copy on the device.

    On the CPU, JAX would copy an array of NumPy's twice. It keeps an array that begins at
    a cache line without a copy, so that one copy, to such a place, is enough.
    """
    if isinstance(leaf, jax.Array):
        return leaf
    plain = type(leaf) in (np.ndarray, np.memmap)
    if target() != "cpu" or not plain or canonicalize_dtype(leaf.dtype) != leaf.dtype:
        return jnp.array(leaf)
    block = np.empty(leaf.nbytes + CACHE_LINE, np.uint8)
    first = -block.ctypes.data % CACHE_LINE
    copied = block[first : first + leaf.nbytes].view(leaf.dtype).reshape(leaf.shape)
    np.copyto(copied, leaf)
    return jax.device_put(copied)


@jax.jit
def finite_examples(leaf: Array) -> Array:
    """Return which examples of an array are finite, (examples,), bool."""
    # 0 * x is NaN where x isn't finite; the sum avoids a temporary as large as x.
    return jnp.isfinite(jnp.sum(0 * leaf, axis=tuple(range(1, leaf.ndim))))


def examples_per_chunk(data: Streamed, multiple_of: int = 1) -> int:
    """Return how many examples of `data` are put on the device at a time."""
    nbytes = max(1, multiple_of * data.bytes_per_example)
    return multiple_of * max(1, BYTES_PER_CHUNK // nbytes)


def sample_rows(data: Streamed) -> NDArray:
    """Return the numbers of the first examples, and those with the extreme labels.

    Labels are integers of a few bytes, and all of them are read: otherwise a label out of
    range would be met in the middle of training. Other targets may be as large as inputs.
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
    """Return the numbers of the examples with the smallest and the largest label."""
    least, most = [], []
    for first in range(0, len(labels), LABELS_AT_ONCE):
        rows = np.arange(first, min(first + LABELS_AT_ONCE, len(labels)))
        inside = labels[rows[0] : rows[-1] + 1] if isinstance(labels, np.ndarray) else None
        part = np.asarray(labels[rows] if inside is None else inside).reshape(len(rows), -1)
        least.append((part.min(), first + part.min(1).argmin()))
        most.append((part.max(), first + part.max(1).argmax()))
    return np.array([min(least)[1], max(most)[1]])


def _check_batch(batch: Any) -> None:
    """Raise unless a batch holds arrays of numbers."""
    checks.arrays(dict(zip(("x", "y", "weights"), batch, strict=False)), "a batch")


def _check_weights(weights: Any = True) -> None:
    """Raise unless the weights of a batch are finite and not negative."""
    seen = np.asarray(weights)
    if not (np.isfinite(seen) & (seen >= 0)).all():
        raise ValueError(
            f"the weights of a batch must be finite and not negative, got "
            f"{checks.span(seen)}"
        )


def _as_array(leaf: Any) -> Array:
    """Return an array on the device, also one of PyTorch's or TensorFlow's."""
    return put_copy(leaf if isinstance(leaf, jax.Array) else np.asarray(leaf))


def _check_finite(leaf: Array, what: str) -> None:
    if isinstance(leaf, jax.core.Tracer) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return
    with jax.ensure_compile_time_eval():
        bad = np.flatnonzero(~np.asarray(finite_examples(leaf)))
    if bad.size:
        raise ValueError(
            f"{what} holds NaN or infinity in {bad.size} of {leaf.shape[0]} examples, "
            f"the first being number {bad[0]}"
        )
