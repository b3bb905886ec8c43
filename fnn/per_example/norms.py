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
    a, g = _widen(a, g)
    return jnp.sum(jnp.sum(jnp.square(a), (1, 2)) * jnp.sum(jnp.square(g), (1, 2)))


def direct(a: Array, g: Array) -> Array:
    """Return Σ (Aᵀ G)²: form the gradient, and forget it."""
    return jnp.sum(jnp.square(product(a, g)))


def gram(a: Array, g: Array) -> Array:
    """Return the squared norm by the products of positions, with A centred.

    With m = mean of Aₜ, s = Σ Gₜ and C = A - m, so that AᵀG = CᵀG + m sᵀ:

        ‖AᵀG‖² = Σₜₛ ⟨Cₜ, Cₛ⟩ ⟨Gₜ, Gₛ⟩ + 2 Σₜ ⟨Cₜ, m⟩ ⟨Gₜ, s⟩ + |m|² |s|²

    Activations share a mean and cotangents nearly cancel, in which case the same sum with
    A in place of C is all rounding. It is computed in float32 or wider at the highest
    precision, and never below 0. With u the unit roundoff of that dtype, the tests, on
    activations and cotangents made to cancel, hold the error of the squared norm to
    (T + d + p + 8) u (Σₜ (|Cₜ| + |m|) |Gₜ|)². That is small beside the squared norm
    unless the positions of an example cancel in other ways than through their mean.

    Source: Li et al. 2022, "Large language models can be strong differentially private
    learners", for the sum that is not centred.
    """
    a, g = _widen(a, g)
    mean, total = jnp.mean(a, 1, keepdims=True), jnp.sum(g, 1, keepdims=True)
    centred = a - mean
    pairs = jnp.sum(_times(centred, centred) * _times(g, g))
    sides = jnp.sum(_times(centred, mean) * _times(g, total))
    means = jnp.sum(jnp.square(mean), 2) * jnp.sum(jnp.square(total), 2)
    return jnp.maximum(pairs + 2 * sides + jnp.sum(means), 0)


def product(a: Array, g: Array, precision: Any = HIGHEST) -> Array:
    """Return Aᵀ G, (N, d, p), accumulated in float32 or wider."""
    dtype = wide(a.dtype)
    return jnp.einsum(
        "ntd,ntp->ndp", a, g, precision=precision, preferred_element_type=dtype
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


def _widen(a: Array, g: Array) -> tuple[Array, Array]:
    return a.astype(wide(a.dtype)), g.astype(wide(g.dtype))
