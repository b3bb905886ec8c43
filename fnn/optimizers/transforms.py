"""Transforms of gradients, to be chained before an optimizer."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.arithmetic import layer_norms
from fnn.optimizers.base import Optimizer
from fnn.squares import leading, ratio
from fnn.types import Array, Params, PyTree, as_dtype


class ClipByValue(Optimizer):
    """Clip every element of the gradient: g ← max(-limit, min(limit, g)).

    The direction changes; where that matters, clip by norm.

    Args:
        limit: The largest absolute value of an element.

    Raises:
        ValueError: If the limit is negative.

    Example:
        >>> clip = fnn.optimizers.ClipByValue(1.0)
        >>> grads = {"w": jax.numpy.array([-5.0, 0.5])}
        >>> clip.update(grads, clip.init(grads))[0]
        {'w': Array([-1. ,  0.5], dtype=float32)}
    """

    limit: float

    def __post_init__(self) -> None:
        checks.between("limit", self.limit, 0, float("inf"))

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        def leaf_clipped(g: Array) -> Array:
            limit = jnp.asarray(self.limit, g.dtype)
            return jnp.clip(g, -limit, limit)

        return jax.tree.map(leaf_clipped, grads), state


class ClipByNorm(Optimizer):
    """Shorten the gradient of each leaf to a length: gᵢ ← gᵢ · min(1, max_norm / ‖gᵢ‖).

    A leaf is one array of parameters of one layer; in a leaf that `fnn.Repeat` stacks, each
    layer counts by itself. Each has its own norm, so the direction of the whole may change.

    Args:
        max_norm: The length that no leaf exceeds.

    Raises:
        ValueError: If `max_norm` is negative.

    Example:
        >>> clip = fnn.optimizers.ClipByNorm(1.0)
        >>> grads = {"a": jax.numpy.array([3.0, 4.0]), "b": jax.numpy.array([0.5])}
        >>> clip.update(grads, clip.init(grads))[0]
        {'a': Array([0.6, 0.8], dtype=float32), 'b': Array([0.5], dtype=float32)}
    """

    max_norm: float

    def __post_init__(self) -> None:
        checks.between("max_norm", self.max_norm, 0, float("inf"))

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        lengths = layer_norms(grads)
        return jax.tree.map(lambda g, n: _cut(g, n, self.max_norm), grads, lengths), state


class ClipByGlobalNorm(Optimizer):
    """Shorten the gradient to a length: g ← g · min(1, max_norm / ‖g‖).

    The norm is that of all leaves together, so the direction stays. In a `Chain`, leaves
    that a later stage freezes have no part in it.

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural
    networks".

    Args:
        max_norm: The length that no gradient exceeds.

    Raises:
        ValueError: If `max_norm` is negative.

    Example:
        >>> clip = fnn.optimizers.ClipByGlobalNorm(1.0)
        >>> grads = {"a": jax.numpy.array([3.0]), "b": jax.numpy.array([4.0])}
        >>> clip.update(grads, clip.init(grads))[0]
        {'a': Array([0.6], dtype=float32), 'b': Array([0.8], dtype=float32)}
    """

    max_norm: float

    def __post_init__(self) -> None:
        checks.between("max_norm", self.max_norm, 0, float("inf"))

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        factors = _factors(tree.norm(grads), self.max_norm)
        return jax.tree.map(lambda g: _scaled(g, *factors), grads), state


def _factors(length: Array, max_norm: Array | float) -> tuple[Array, Array]:
    """Return two factors that make a norm of `length` at most `max_norm`."""
    limit = jnp.asarray(max_norm, length.dtype)
    long = length > limit
    return ratio(jnp.where(long, length, 1), jnp.where(long, limit, 1))


def _scaled(g: Array, first: Array, second: Array) -> Array:
    """Return g · first · second, computed in the dtype of the factors."""
    return as_dtype(as_dtype(g, first.dtype) * first * second, g.dtype)


@functools.partial(jax.jit, inline=True)  # traced once for each shape
def _cut(g: Array, lengths: Array, max_norm: Array | float) -> Array:
    """Return each layer of a leaf, scaled to a norm of at most `max_norm`."""
    first, second = _factors(lengths, max_norm)
    return _scaled(g, leading(first, g), leading(second, g))
