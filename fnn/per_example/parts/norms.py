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


class Scaled(NamedTuple):
    """A squared norm as square · scale², neither of which leaves the range of the dtype.

    Squares of norms above 1e19 or below 1e-19 do, in float32.
    """

    square: Array
    scale: Array

    def squared(self) -> Array:
        """Return the squared norm: 0 where it is 0 though scale² be infinite."""
        square = self.square
        return jnp.where(square > 0, square * jnp.square(self.scale), square)

    def norm(self) -> Array:
        """Return the norm: 0 where it is 0 though the scale be infinite."""
        root = jnp.sqrt(self.square)
        return jnp.where(root > 0, root * self.scale, root)

    def astype(self, dtype: Any) -> "Scaled":
        """Return both numbers in a dtype."""
        return Scaled(self.square.astype(dtype), self.scale.astype(dtype))


@traced_once()
def scaled(x: Array) -> Scaled:
    """Return Σ x², of one example.

    Three sums, of which the one in range counts, take one pass over x. To divide by the
    largest element first would take two, between which XLA keeps x in memory.

    Source: Blue 1978, "A portable Fortran program to find the Euclidean norm of a vector",
    for the sums of small and of large numbers.
    """
    info = jnp.finfo(x.dtype)
    up = 2.0 ** (info.maxexp // 2 - 1)  # its square is a number, as XLA may compute that
    plain, raised, lowered = lax.reduce(
        [jnp.square(x * f) for f in (1.0, up, 1 / up)],
        [jnp.zeros((), x.dtype)] * 3,
        lambda sums, squares: [s + q for s, q in zip(sums, squares, strict=True)],
        tuple(range(x.ndim)),
    )
    # A square that underflows misses less than 2^minexp. Of 2³⁰ of them, a sum from here
    # on misses less than its last bit.
    small = plain < 2.0 ** (info.minexp + info.nmant + 30)
    large = plain == jnp.inf
    square = jnp.where(small, raised, jnp.where(large, lowered, plain))
    scale = jnp.where(small, 1 / up, jnp.where(large, up, 1.0))
    return Scaled(square, scale.astype(x.dtype))


def added(each: Scaled) -> Scaled:
    """Return the sum of squared norms along the first axis."""
    squares, scales = each
    used = jnp.where(squares == 0, 0, scales)
    largest = jnp.max(used, 0, keepdims=True, initial=0)
    ratios = jnp.where(used == largest, 1, used / jnp.where(largest > 0, largest, 1))
    return Scaled(jnp.sum(squares * jnp.square(ratios), 0), largest[0])


def together(parts: Sequence[Scaled]) -> Scaled:
    """Return the sum of several squared norms."""
    if len(parts) == 1:
        return parts[0]
    squares, scales = (jnp.stack(numbers) for numbers in zip(*parts, strict=True))
    return added(Scaled(squares, scales))


@traced_once()
def rank_one(a: Array, g: Array) -> Scaled:
    """Return Σₙ |aₙ|² |gₙ|², which is the squared norm where T is 1.

    Source: Goodfellow 2015, "Efficient per-example gradient computations".
    """
    a, g, scale = normalized_factors(a, g)
    each = jnp.sum(jnp.square(a), (1, 2)) * jnp.sum(jnp.square(g), (1, 2))
    return added(Scaled(each, scale))


@traced_once()
def direct(a: Array, g: Array) -> Scaled:
    """Return Σ (Aᵀ G)²: form the gradient, and forget it."""
    return scaled(product(a, g))


@traced_once()
def gram(a: Array, g: Array) -> Scaled:
    """Return the squared norm by the products of positions, with A centred.

    With m = mean of Aₜ, s = Σ Gₜ and C = A - m, so that AᵀG = CᵀG + m sᵀ:

        ‖AᵀG‖² = Σₜₛ ⟨Cₜ, Cₛ⟩ ⟨Gₜ, Gₛ⟩ + 2 Σₜ ⟨Cₜ, m⟩ ⟨Gₜ, s⟩ + |m|² |s|²

    Activations share a mean and cotangents nearly cancel, in which case the same sum with
    A in place of C is all rounding. It is computed in float32 or wider at the highest
    precision, and never below 0. `FactoredGradients.norms` states the bound of its error,
    which is small unless positions cancel in other ways than through their mean.

    Source: Li et al. 2022, "Large language models can be strong differentially private
    learners", for the sum that is not centred.
    """
    a, g, scale = normalized_factors(a, g)
    mean = jnp.sum(a, 1, keepdims=True) / max(a.shape[1], 1)
    total = jnp.sum(g, 1, keepdims=True)
    centred = a - mean
    pairs = jnp.sum(_times(centred, centred) * _times(g, g), (1, 2))
    sides = jnp.sum(_times(centred, mean) * _times(g, total), (1, 2))
    means = jnp.sum(jnp.square(mean), (1, 2)) * jnp.sum(jnp.square(total), (1, 2))
    each = jnp.maximum(pairs + 2 * sides + means, 0)
    return added(Scaled(each, scale))


def product(a: Array, g: Array, precision: Any = HIGHEST) -> Array:
    """Return Aᵀ G, (N, d, p), accumulated in float32 or wider."""
    if g.shape[-1] < a.shape[-1]:  # CPUs multiply up to twice as fast with few rows
        return product(g, a, precision).swapaxes(1, 2)
    return lax.dot_general(
        a,
        g,
        (((1,), (1,)), ((0,), (0,))),
        precision=precision,
        preferred_element_type=wide(a.dtype),
    )


WAYS: dict[str, Callable[[Array, Array], Scaled]] = {
    "rank one": rank_one,
    "direct": direct,
    "gram": gram,
}


def costs(n: int, t: int, d: int, p: int) -> dict[str, Cost]:
    """Return what each way to the squared norm costs for one example."""
    return {
        "rank one": Cost(2 * n * (d + p), 0),
        "direct": Cost(2 * n * (t + 1) * d * p, n * d * p),
        "gram": Cost(2 * n * t * (t + 2) * (d + p), 2 * n * t * t),
    }


def cheapest(n: int, t: int, d: int, p: int) -> str:
    """Return the way to the squared norm that takes the fewest operations."""
    if t == 1:
        return "rank one"
    ways = costs(n, t, d, p)
    return min(("direct", "gram"), key=lambda way: ways[way].flops)


def _times(a: Array, b: Array) -> Array:
    """Return A Bᵀ for each n."""
    return jnp.einsum("ntd,nsd->nts", a, b, precision=HIGHEST)


def normalized_factors(a: Array, g: Array) -> tuple[Array, Array, Array]:
    """Return factors with no element above 4, and the scale of their product, for each n.

    Where the norm is in the range of the dtype, squares of such elements are too.
    """
    a, over_a = _divided(a.astype(wide(a.dtype)), (1, 2))
    g, over_g = _divided(g.astype(wide(g.dtype)), (1, 2))
    return a, g, (over_a * over_g)[:, 0, 0]


def normalized(x: Array) -> tuple[Array, Array]:
    """Return an array with no element above 4, in float32 or wider, and its scale."""
    x, over = _divided(x.astype(wide(x.dtype)), range(x.ndim))
    return x, over.reshape(())


def _divided(x: Array, axes: Sequence[int]) -> tuple[Array, Array]:
    """Divide by the largest element along some axes, and return that too.

    Compilers divide by multiplying with the reciprocal. That of numbers beyond 1 / tiny is
    taken for 0, and with it the norm, so that nothing would be clipped: so these are not
    divided by.
    """
    tiny = jnp.finfo(x.dtype).tiny
    largest = jnp.max(jnp.abs(x), tuple(axes), keepdims=True, initial=0)
    largest = lax.stop_gradient(largest)
    over = jnp.where(largest > 0, jnp.clip(largest, tiny, 1 / tiny), 1)
    return x / over, over
