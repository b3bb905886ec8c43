"""Squared norms of g = Aᵀ G of one example, from its factors A (N, T, d), G (N, T, p)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from fnn.platforms import traced_once
from fnn.types import Array, wide

HIGHEST = lax.Precision.HIGHEST


class Cost(NamedTuple):
    """Floating-point operations, and temporary memory, for one example."""

    flops: int
    memory: int


class SquaredNorm(NamedTuple):
    """A squared norm as square · scale²; both numbers stay in the range of the dtype.

    In float32, the squares of norms above 1e19 or below 1e-19 don't.
    """

    square: Array
    scale: Array

    def squared(self) -> Array:
        """Return the squared norm; 0 where `square` is 0, even if scale² is infinite."""
        square = self.square
        return jnp.where(square > 0, square * jnp.square(self.scale), square)

    def norm(self) -> Array:
        """Return the norm; 0 where `square` is 0, even if `scale` is infinite."""
        root = jnp.sqrt(self.square)
        return jnp.where(root > 0, root * self.scale, root)

    def astype(self, dtype: Any) -> "SquaredNorm":
        """Return both numbers in a dtype."""
        return SquaredNorm(self.square.astype(dtype), self.scale.astype(dtype))


@traced_once()
def of_array(x: Array) -> SquaredNorm:
    """Return Σ x² of one example.

    It computes three sums in one pass over x, of which the one in range counts. To divide
    by the largest element first would take two passes, and XLA keeps x in memory between
    them.

    Source: Blue 1978, "A portable Fortran program to find the Euclidean norm of a vector",
    for the sums of small and of large numbers.
    """
    info = jnp.finfo(x.dtype)
    # up² is finite too: XLA may rewrite (x · up)² as x² · up².
    up = 2.0 ** (info.maxexp // 2 - 1)
    plain, raised, lowered = lax.reduce(
        [jnp.square(x * f) for f in (1.0, up, 1 / up)],
        [jnp.zeros((), x.dtype)] * 3,
        lambda sums, squares: [s + q for s, q in zip(sums, squares, strict=True)],
        tuple(range(x.ndim)),
    )
    # A square that underflows loses less than 2^minexp. From this bound on, a sum that
    # misses 2³⁰ of them loses less than its last bit.
    small = plain < 2.0 ** (info.minexp + info.nmant + 30)
    large = plain == jnp.inf
    square = jnp.where(small, raised, jnp.where(large, lowered, plain))
    scale = jnp.where(small, 1 / up, jnp.where(large, up, 1.0))
    return SquaredNorm(square, scale.astype(x.dtype))


def added(each: SquaredNorm) -> SquaredNorm:
    """Return the sum of squared norms along the first axis, with their largest scale."""
    squares, scales = each
    used = jnp.where(squares == 0, 0, scales)
    largest = jnp.max(used, 0, keepdims=True, initial=0)
    ratios = jnp.where(used == largest, 1, used / jnp.where(largest > 0, largest, 1))
    return SquaredNorm(jnp.sum(squares * jnp.square(ratios), 0), largest[0])


def together(parts: Sequence[SquaredNorm]) -> SquaredNorm:
    """Return the sum of several squared norms of the same shape."""
    if len(parts) == 1:
        return parts[0]
    squares, scales = (jnp.stack(numbers) for numbers in zip(*parts, strict=True))
    return added(SquaredNorm(squares, scales))


@traced_once()
def rank_one(a: Array, g: Array) -> SquaredNorm:
    """Return Σₙ |aₙ|² |gₙ|², the squared norm where T is 1.

    Source: Goodfellow 2015, "Efficient per-example gradient computations".
    """
    a, g, scale = normalized_factors(a, g)
    each = jnp.sum(jnp.square(a), (1, 2)) * jnp.sum(jnp.square(g), (1, 2))
    return added(SquaredNorm(each, scale))


@traced_once()
def direct(a: Array, g: Array) -> SquaredNorm:
    """Return Σ (Aᵀ G)²: form the gradient, and forget it."""
    return of_array(multiply(a, g))


@traced_once()
def centred_gram(a: Array, g: Array) -> SquaredNorm:
    """Return the squared norm from products of pairs of positions, with A centred.

    With m = mean of Aₜ, s = Σ Gₜ and C = A - m, so that AᵀG = CᵀG + m sᵀ:

        ‖AᵀG‖² = Σₜₛ ⟨Cₜ, Cₛ⟩ ⟨Gₜ, Gₛ⟩ + 2 Σₜ ⟨Cₜ, m⟩ ⟨Gₜ, s⟩ + |m|² |s|²

    Activations share a mean, and cotangents nearly cancel. With A in place of C, the sum
    would then be all rounding. It is computed in float32 or wider at the highest
    precision, and is never below 0. `FactoredGradients.norms` states the bound of its
    error, which is small unless positions cancel in other ways than through their mean.

    Source: Li et al. 2022, "Large language models can be strong differentially private
    learners", for the sum that is not centred (their ghost norm).
    """
    a, g, scale = normalized_factors(a, g)
    mean = jnp.sum(a, 1, keepdims=True) / max(a.shape[1], 1)  # (N, 1, d)
    total = jnp.sum(g, 1, keepdims=True)  # (N, 1, p)
    centred = a - mean
    pairs = jnp.sum(_times(centred, centred) * _times(g, g), (1, 2))  # over (T, T)
    sides = jnp.sum(_times(centred, mean) * _times(g, total), (1, 2))  # over (T, 1)
    means = jnp.sum(jnp.square(mean), (1, 2)) * jnp.sum(jnp.square(total), (1, 2))
    each = jnp.maximum(pairs + 2 * sides + means, 0)
    return added(SquaredNorm(each, scale))


def multiply(a: Array, g: Array, precision: Any = HIGHEST) -> Array:
    """Return Aᵀ G, (N, d, p), accumulated in float32 or wider."""
    if g.shape[-1] < a.shape[-1]:  # CPUs multiply up to twice as fast with few rows
        return multiply(g, a, precision).swapaxes(1, 2)
    return lax.dot_general(
        a,
        g,
        (((1,), (1,)), ((0,), (0,))),
        precision=precision,
        preferred_element_type=wide(a.dtype),
    )


RULES: dict[str, Callable[[Array, Array], SquaredNorm]] = {
    "rank one": rank_one,
    "direct": direct,
    "centred gram": centred_gram,
}
"""The rules for the norm of a product. A new one goes here, into `costs`, into `cheapest`
and, with words for users, into `report.DESCRIPTIONS`."""


def costs(n: int, t: int, d: int, p: int) -> dict[str, Cost]:
    """Return the cost of each rule for one example; memory in numbers, not bytes."""
    return {
        "rank one": Cost(2 * n * (d + p), 0),
        "direct": Cost(2 * n * (t + 1) * d * p, n * d * p),
        "centred gram": Cost(2 * n * t * (t + 2) * (d + p), 2 * n * t * t),
    }


def cheapest(n: int, t: int, d: int, p: int) -> str:
    """Return the rule that takes the fewest operations.

    The two for T > 1 break even at about T² (d + p) = T d p. So a long sequence through
    a narrow layer is formed; a short one through a wide layer takes pairs of positions:

        >>> cheapest(1, 1000, 64, 64), cheapest(1, 16, 1024, 1024)
        ('direct', 'centred gram')
    """
    if t == 1:
        return "rank one"
    each = costs(n, t, d, p)
    return min(("direct", "centred gram"), key=lambda rule: each[rule].flops)


def _times(a: Array, b: Array) -> Array:
    """Return A Bᵀ for each n."""
    return jnp.einsum("ntd,nsd->nts", a, b, precision=HIGHEST)


def normalized_factors(a: Array, g: Array) -> tuple[Array, Array, Array]:
    """Return factors without elements above 4, and the scale of their product, (N,).

    Where the norm is in the range of the dtype, the squares of such elements are too.
    """
    a, over_a = _divided(a.astype(wide(a.dtype)), (1, 2))
    g, over_g = _divided(g.astype(wide(g.dtype)), (1, 2))
    return a, g, (over_a * over_g)[:, 0, 0]


def normalized(x: Array) -> tuple[Array, Array]:
    """Return an array without elements above 4, in float32 or wider, and its scale."""
    x, over = _divided(x.astype(wide(x.dtype)), range(x.ndim))
    return x, over.reshape(())


def _divided(x: Array, axes: Sequence[int]) -> tuple[Array, Array]:
    """Divide by the largest element along some axes, and return that element too.

    Compilers divide by multiplying with the reciprocal, and the reciprocal of a number
    above 1 / tiny is flushed to 0. The norm would be 0 with it, and nothing would be
    clipped. So the divisor is at most 1 / tiny, which leaves elements of up to 4: in
    float32, 1 / tiny is 2¹²⁶, and the largest number is below 2¹²⁸.
    """
    tiny = jnp.finfo(x.dtype).tiny
    largest = jnp.max(jnp.abs(x), tuple(axes), keepdims=True, initial=0)
    largest = lax.stop_gradient(largest)
    over = jnp.where(largest > 0, jnp.clip(largest, tiny, 1 / tiny), 1)
    return x / over, over
