"""Reading a scatter-add, or an update of a slice, as rows of a table.

The gradient of `table[ids]` is a scatter-add of the cotangents into zeros:

    d: f32[100,8] = scatter-add zeros ids[:, None] dy        ids (T,), dy (T, 8)

Its canonical form is ids (T,) of rows, and rows (T, p).
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.types import Array, Shape


def adds_whole_rows(shape: Shape, updates: Shape, params: dict[str, Any]) -> bool:
    """Return whether a scatter-add adds whole rows, along all axes that it doesn't index.

    Into a table of shape (100, 8), indexed along axis 0, it adds (T, 8), not (T, 3). The
    ids must be numbers of int32, and a row must not be empty.
    """
    numbers = params["dimension_numbers"]
    table, window = numbers.inserted_window_dims, numbers.update_window_dims
    row = [shape[k] for k in range(len(shape)) if k not in table]
    return (
        not numbers.operand_batching_dims
        and sorted(numbers.scatter_dims_to_operand_dims) == sorted(table)
        and [updates[k] for k in window] == row
        and math.prod(shape) < 2**31
        and math.prod(row) > 0
    )


def ids_and_rows(
    indices: Array, updates: Array, shape: Shape, params: dict[str, Any]
) -> tuple[Array, Array]:
    """Return the ids (T,), and the rows (T, p), of one scatter-add into zeros.

    For w[i, j] with w of shape (5, 6, 8), the table has V = 30 rows, of p = 8. Indices
    (T, 2) become the ids 6 i + j. An index out of range gets the id V and the row 0.

    Args:
        indices: (..., axes of the table), T of them.
        updates: The rows, whose axes `update_window_dims` are p; or one row without other
            axes for all indices, which is returned as (1, p).
        shape: The shape of the zeros.
        params: The parameters of the scatter-add.
    """
    numbers = params["dimension_numbers"]
    table, window = numbers.inserted_window_dims, numbers.update_window_dims
    sizes = np.array([shape[k] for k in table], np.int64)
    # Component m of an index belongs to axis scatter_dims_to_operand_dims[m] of the zeros;
    # `order` sorts the components by the axes of the table.
    order = [numbers.scatter_dims_to_operand_dims.index(k) for k in table]
    t = math.prod(indices.shape[:-1])
    if indices.dtype.itemsize < 4:  # an int8 can't hold `limit`
        indices = indices.astype(jnp.int32)
    indices = indices.reshape(t, len(table))[:, np.array(order)]
    limit = jnp.asarray(sizes - 1, indices.dtype)[None]
    if params["mode"] == lax.GatherScatterMode.CLIP:
        indices = jnp.clip(indices, jnp.zeros_like(limit), limit)
    inside = jnp.all((indices >= 0) & (indices <= limit), -1)
    strides = [math.prod(sizes[k + 1 :].tolist()) for k in range(len(sizes))]
    parts = indices.astype(jnp.int32) * jnp.asarray(strides, jnp.int32)[None]
    ids = jnp.where(inside, jnp.sum(parts, -1, dtype=jnp.int32), math.prod(sizes.tolist()))
    if updates.ndim == len(window):
        return ids, updates.reshape(1, updates.size)
    batch = [k for k in range(updates.ndim) if k not in window]
    p = math.prod(updates.shape[k] for k in window)
    rows = updates.transpose(*batch, *window).reshape(t, p)
    return ids, jnp.where(inside[:, None], rows, jnp.zeros((), rows.dtype))


def id_and_row(
    update: Array, *starts: Array, shape: Shape, axes: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return the id (1,), and the row (1, p), of one slice put into zeros.

    JAX clips the start of a `dynamic_update_slice`, so the id is always in the table.
    """
    ids = jnp.zeros((), jnp.int32)
    for axis in axes:
        start = starts[axis]
        start = start.astype(jnp.int32) if start.dtype.itemsize < 4 else start
        ids = ids * shape[axis] + jnp.clip(start, 0, shape[axis] - 1).astype(jnp.int32)
    return ids.reshape(1), update.reshape(1, update.size)
