"""Mapping a function of one example over a batch, a block of examples at a time.

A memory budget bounds the size of the blocks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn.types import Array, PyTree


def size(count: int, nbytes: int, budget: int, devices: int = 1) -> int:
    """Return how many examples a block may have, with `nbytes` of temporaries each.

    The budget is that of each device; the examples of a block are split among devices.
    A size that divides the batch is preferred if it is above half of the largest. Without
    one, the last block is computed apart, or overlaps the previous.
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
    """Return `function` of each example, (count, ...), a block of examples at a time."""
    if block >= count:
        return jax.vmap(function)(batch)
    if devices == 1:
        return _in_turn(jax.vmap(function), batch, count, block)
    rows = _rows(batch, devices)
    # (count / devices, devices, ...) -> (devices, count / devices, ...) -> (count, ...)
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
    """Return the sum over the examples of what `function` returns for each, an array."""

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
    start = summed(first)  # zeros if nothing is left over
    return lax.scan(lambda sum_, part: (sum_ + summed(part), None), start, parts)[0]


def _in_turn(
    function: Callable[[PyTree], Any], batch: PyTree, count: int, block: int
) -> Any:
    """Return `function` of all blocks, end to end; the last may overlap the previous."""
    shapes = jax.tree.map(lambda x: (block, *x.shape[1:]), batch)
    # Without axes of one element: XLA may lay them out first in memory, and then copies the
    # whole array for the loop.
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
        # Whatever its value, every element is overwritten.
        late = sum((x.astype(y.dtype) for x in firsts), jnp.zeros((), y.dtype))
        return jnp.broadcast_to(late, (count, *y.shape[1:]))

    # XLA computes zeros, which depend on nothing, when the program starts, and keeps their
    # memory from then on. So the array to fill is made of the operands' first numbers.
    firsts = [lax.stop_gradient(x.ravel()[0]) for x in jax.tree.leaves(batch) if x.size]
    start = jax.tree.map(blank, jax.eval_shape(values, 0))
    return lax.fori_loop(0, -(-count // block), put, start)


def _rows(batch: PyTree, devices: int) -> PyTree:
    """Return (count / devices, devices, ...): each row has an example of every device.

    The examples stay on their devices, which hold `count / devices` successive ones each.
    """

    def rows(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(devices, -1, *x.shape[1:]), 1, 0)

    return jax.tree.map(rows, batch)
