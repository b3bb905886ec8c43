"""Squared norms of g = Aᵀ G of one example, from its factors A (N, T, d), G (N, T, p)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from fnn.types import Array, wide

HIGHEST = lax.Precision.HIGHEST


class Cost(NamedTuple):
    """Floating-point operations, and temporary memory, for one example."""

    flops: int
    memory: int


def rank_one(a: Array, g: Array) -> Array:
    """Return Σₙ |aₙ|² |gₙ|², which is the squared norm where T is 1.

    Source: Goodfellow 2015, "Efficient per-example gradient computations".
    """
    a, g, scale = _normalized(a, g)
    each = jnp.sum(jnp.square(a), (1, 2)) * jnp.sum(jnp.square(g), (1, 2))
    return jnp.sum(_rescaled(each, scale))


def direct(a: Array, g: Array) -> Array:
    """Return Σ (Aᵀ G)²: form the gradient, and forget it."""
    return jnp.sum(jnp.square(product(a, g)))


def gram(a: Array, g: Array) -> Array:
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
    a, g, scale = _normalized(a, g)
    mean = jnp.sum(a, 1, keepdims=True) / max(a.shape[1], 1)
    total = jnp.sum(g, 1, keepdims=True)
    centred = a - mean
    pairs = jnp.sum(_times(centred, centred) * _times(g, g), (1, 2))
    sides = jnp.sum(_times(centred, mean) * _times(g, total), (1, 2))
    means = jnp.sum(jnp.square(mean), (1, 2)) * jnp.sum(jnp.square(total), (1, 2))
    each = jnp.maximum(pairs + 2 * sides + means, 0)
    return jnp.sum(_rescaled(each, scale))


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


WAYS: dict[str, Callable[[Array, Array], Array]] = {
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


def _normalized(a: Array, g: Array) -> tuple[Array, Array, Array]:
    """Return factors with no element above 4, and the scale of their product, for each n.

    Where the norm is in the range of the dtype, squares of such elements are too.
    """
    a, over_a = _divided(a.astype(wide(a.dtype)))
    g, over_g = _divided(g.astype(wide(g.dtype)))
    return a, g, (over_a * over_g)[:, 0, 0]


def _divided(x: Array) -> tuple[Array, Array]:
    """Divide by the largest element of each n, and return that too.

    Compilers divide by multiplying with the reciprocal. That of numbers beyond 1 / tiny is
    taken for 0, and with it the norm, so that nothing would be clipped: so these are not
    divided by.
    """
    tiny = jnp.finfo(x.dtype).tiny
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), (1, 2), keepdims=True, initial=0))
    over = jnp.where(largest > 0, jnp.clip(largest, tiny, 1 / tiny), 1)
    return x / over, over


def _rescaled(squared: Array, scale: Array) -> Array:
    """Return the squared norm times scale², 0 where it is 0 though scale² be infinite."""
    return jnp.where(squared > 0, squared * jnp.square(scale), squared)
