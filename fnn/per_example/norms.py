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
    return _rescaled(jnp.sum(each), scale)


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
    pairs = jnp.sum(_times(centred, centred) * _times(g, g))
    sides = jnp.sum(_times(centred, mean) * _times(g, total))
    means = jnp.sum(jnp.square(mean), 2) * jnp.sum(jnp.square(total), 2)
    return _rescaled(jnp.maximum(pairs + 2 * sides + jnp.sum(means), 0), scale)


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
    """Return factors with no element above 1, and the scale of their product.

    Where the norm is in the range of the dtype, squares of such elements are too.
    """
    a, g = a.astype(wide(a.dtype)), g.astype(wide(g.dtype))
    largest = [lax.stop_gradient(jnp.max(jnp.abs(x), initial=0)) for x in (a, g)]
    over_a, over_g = (jnp.where(m > 0, m, 1) for m in largest)
    return a / over_a, g / over_g, over_a * over_g


def _rescaled(squared: Array, scale: Array) -> Array:
    """Return the squared norm times scale², 0 where it is 0 though scale² be infinite."""
    return jnp.where(squared > 0, squared * jnp.square(scale), squared)
