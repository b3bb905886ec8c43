"""Mapping over the examples of a batch in blocks that a memory budget bounds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn.types import Array, PyTree


def size(count: int, nbytes: int, budget: int, devices: int = 1) -> int:
    """Return how many examples, of `nbytes` of temporaries each, a block may have.

    The budget is that of each device, among which the examples of a block are split. Blocks
    are of one size if they are then not much smaller: the rest would be copied apart.
    """
    rows = count // devices
    most = max(1, budget // max(nbytes, 1))
    if most >= rows:
        return count
    even = next(size for size in range(most, 0, -1) if rows % size == 0)
    return devices * (even if 2 * even > most else most)


def over(
    function: Callable[[Any], Any], batch: PyTree, count: int, block: int, devices: int = 1
) -> Any:
    """Return `function` of each example, computed for a block of them at once."""
    if block >= count:
        return jax.vmap(function)(batch)
    if devices == 1:
        return _in_turn(jax.vmap(function), batch, count, block)
    rows = _rows(batch, devices)
    values = lax.map(jax.vmap(function), rows, batch_size=block // devices)
    return jax.tree.map(
        lambda y: jnp.moveaxis(y, 0, 1).reshape(count, *y.shape[2:]), values
    )


def total(
    function: Callable[[Any], Array],
    batch: PyTree,
    count: int,
    block: int,
    devices: int = 1,
) -> Array:
    """Return the sum over the examples of an array that `function` makes of each."""

    def summed(part: PyTree) -> Array:
        return jnp.sum(jax.vmap(function)(part), 0)

    if block >= count:
        return summed(batch)
    if devices > 1:
        return total(summed, _rows(batch, devices), count // devices, block // devices)
    whole = count - count % block
    parts = jax.tree.map(
        lambda x: x[:whole].reshape(whole // block, block, *x.shape[1:]), batch
    )
    first = jax.tree.map(lambda x: x[whole:], batch)
    start = summed(first)  # of no example, it is zeros
    return lax.scan(lambda sum_, part: (sum_ + summed(part), None), start, parts)[0]


def _in_turn(
    function: Callable[[PyTree], Any], batch: PyTree, count: int, block: int
) -> Any:
    """Return `function` of each block, end to end; the last may begin in the one before."""
    shapes = jax.tree.map(lambda x: (block, *x.shape[1:]), batch)
    # XLA may lay out axes of one element as the first in memory, and copies for a loop.
    batch = jax.tree.map(
        lambda x: x.reshape(len(x), *(n for n in x.shape[1:] if n != 1)), batch
    )

    def values(start: Any) -> Any:
        rows = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, block), batch)
        return function(jax.tree.map(lax.reshape, rows, shapes))

    def put(k: Array, filled: PyTree) -> PyTree:
        start = jnp.minimum(k * block, count - block)
        return jax.tree.map(
            lambda x, y: lax.dynamic_update_slice_in_dim(x, y, start, 0),
            filled,
            values(start),
        )

    def blank(y: Any) -> Array:
        late = sum((x.astype(y.dtype) for x in firsts), jnp.zeros((), y.dtype))
        return jnp.broadcast_to(late, (count, *y.shape[1:]))

    # Zeros depend on nothing: XLA would keep memory for them from the program's start on.
    firsts = [lax.stop_gradient(x.ravel()[0]) for x in jax.tree.leaves(batch) if x.size]
    start = jax.tree.map(blank, jax.eval_shape(values, 0))
    return lax.fori_loop(0, -(-count // block), put, start)


def _rows(batch: PyTree, devices: int) -> PyTree:
    """Return a batch as rows of an example of each device, which stay where they are."""

    def rows(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(devices, -1, *x.shape[1:]), 1, 0)

    return jax.tree.map(rows, batch)
