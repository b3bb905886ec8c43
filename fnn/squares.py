"""Norms that are right also where their squares leave the range of the dtype."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import platforms
from fnn.types import Array, PyTree


def root_of_squares(squares: PyTree, scaled: Callable[[PyTree], PyTree]) -> PyTree:
    """Return √s of sums of squares s, right also where s has left the range of its dtype.

    If the sum is too small or too large, the numbers are scaled before they are squared:
    √s = √(Σ (f xᵢ)²) / f, with a power of 2 for f. On the CPU this is computed only if a
    sum needs it. On other devices it is always computed, because a branch would make them
    wait for the host.

    Args:
        squares: s = Σ xᵢ²: arrays of any shapes, of float32 at least.
        scaled: Called with a tree of f, of arrays like those of `squares`; returns
            Σ (f xᵢ)², a tree like `squares`.

    Returns:
        A tree like `squares`. On the CPU it has no derivative in reverse mode.

    Example:
        >>> x = jax.numpy.array([3e-25, 4e-25])
        >>> def squares(f):
        ...     return jax.numpy.sum(jax.numpy.square(f * x))
        >>> print(fnn.squares.root_of_squares(squares(1.0), squares))
        5e-25
    """
    factors = jax.tree.map(_factor, squares)
    if platforms.target() == "cpu":
        needed = [jnp.any(f != 1) for f in jax.tree.leaves(factors)]
        # The loop runs at most once. It computes the factors itself: if they were its
        # arguments, XLA would broadcast them to the shape of x even if it does not run.
        squares, _ = jax.lax.while_loop(
            lambda carry: carry[1],
            lambda carry: (scaled(jax.tree.map(_factor, carry[0])), jnp.bool_(False)),
            (
                squares,
                functools.reduce(operator.or_, needed) if needed else jnp.bool_(False),
            ),
        )
    else:
        for power in (_upwards, _downwards):
            tried = jax.tree.map(lambda s, p=power: jnp.full_like(s, p(s.dtype)), squares)
            squares = jax.tree.map(
                lambda s, f, t, new: jnp.where(f == t, new, s),
                squares,
                factors,
                tried,
                scaled(tried),
            )
    return jax.tree.map(lambda s, f: jnp.sqrt(s) / f, squares, factors)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@platforms.traced_once(static=1)
def norms(groups: list[list[Array]], axes: tuple[int, ...]) -> list[Array]:
    """Return the norm of each group of leaves, over all but their first axes.

    Args:
        groups: Lists of leaves of one dtype.
        axes: For each group, the number of leading axes that its norm keeps.
    """

    def squares(factors: list[Any]) -> list[Array]:
        return [
            functools.reduce(operator.add, [_sum_of_squares(x, f, kept) for x in leaves])
            for leaves, f, kept in zip(groups, factors, axes, strict=True)
        ]

    return root_of_squares(squares([1.0] * len(groups)), squares)


@norms.defjvp
def _norms_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Return the norms n and Σ (xᵢ / n) tᵢ, which is 0 where n is 0."""
    ((groups,), (moves,)) = primals, tangents
    lengths = norms(groups, axes)
    slopes = []
    for leaves, ts, n, kept in zip(groups, moves, lengths, axes, strict=True):
        parts = [
            jnp.sum(resized(x, n, jnp.ones_like(n)) * t, tuple(range(kept, x.ndim)))
            for x, t in zip(leaves, ts, strict=True)
        ]
        slopes.append(functools.reduce(operator.add, parts))
    return lengths, slopes


def resized(x: Array, length: Array, wanted: Array) -> Array:
    """Return x · wanted / length, even if the ratio is not a number of the dtype.

    Args:
        x: An array of floats.
        length: The norm of `x`, or of more than it. Where it is 0, `x` is returned as 0.
        wanted: The new norm. Both have the first axes of `x`.
    """
    first, second = ratio(length, wanted)
    return x * leading(first, x) * leading(second, x)


def ratio(length: Array, wanted: Array) -> tuple[Array, Array]:
    """Return two factors of wanted / length, each of which is a number of the dtype.

    Multiply by the first one first: it is a power of 2 that brings what has this `length`
    to the middle of the range.
    """
    far = jnp.asarray(2.0**64, length.dtype)
    nearer = jnp.where(length > far, 1 / far, jnp.where(length < 1 / far, far, 1))
    return nearer, wanted / jnp.where(length > 0, length * nearer, 1)


def _sum_of_squares(x: Array, factor: float | Array, kept: int) -> Array:
    """Return Σ (factor x)² over all but the first `kept` axes."""
    if isinstance(factor, jax.Array):
        # For a constant x, XLA would compute x² factor², and factor² is infinite.
        x = jax.lax.optimization_barrier(x) * leading(factor, x)
    return jnp.sum(jnp.square(x), tuple(range(kept, x.ndim)))


def leading(x: Array, like: Array) -> Array:
    """Return `x` with axes of length 1 appended, until it has the rank of `like`."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def _factor(squares: Array) -> Array:
    """Return the factor to scale by before squaring: 1 if the sum of squares is right.

    A square that underflows misses less than 2^minexp. With 2³⁰ of them, a sum from the
    bound on misses less than its last bit.
    """
    info = jnp.finfo(squares.dtype)
    small = squares < 2.0 ** (info.minexp + info.nmant + 30)
    up, down = _upwards(squares.dtype), _downwards(squares.dtype)
    one = jnp.ones_like(squares)
    return jnp.where(small, up, jnp.where(squares == jnp.inf, down, one))


def _upwards(dtype: Any) -> float:
    """Return the power of 2 that brings numbers that are too small to mid-range.

    With it the least normal number has a square that `_factor` lets pass, in float32 and
    in float64, and with its inverse 2³⁰ of the largest ones have a sum.
    """
    return 2.0 ** (3 * jnp.finfo(dtype).maxexp // 4)


def _downwards(dtype: Any) -> float:
    return 1 / _upwards(dtype)
