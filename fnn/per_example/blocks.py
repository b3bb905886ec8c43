"""Mapping over the examples of a batch in blocks that a memory budget bounds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn.types import Array, PyTree


def size(count: int, nbytes: int, budget: int) -> int:
    """Return how many examples, of `nbytes` of temporaries each, a block may have."""
    return max(1, min(count, budget // max(nbytes, 1)))


def over(function: Callable[[Any], Any], batch: PyTree, count: int, block: int) -> Any:
    """Return `function` of each example, computed for a block of them at once."""
    if block >= count:
        return jax.vmap(function)(batch)
    return lax.map(function, batch, batch_size=block)


def total(function: Callable[[Any], Array], batch: PyTree, count: int, block: int) -> Array:
    """Return the sum over the examples of an array that `function` makes of each."""

    def summed(part: PyTree) -> Array:
        return jnp.sum(jax.vmap(function)(part), 0)

    if block >= count:
        return summed(batch)
    whole = count - count % block
    parts = jax.tree.map(
        lambda x: x[:whole].reshape(whole // block, block, *x.shape[1:]), batch
    )
    first = jax.tree.map(lambda x: x[whole:], batch)
    start = summed(first)  # of no example, it is zeros
    return lax.scan(lambda sum_, part: (sum_ + summed(part), None), start, parts)[0]
