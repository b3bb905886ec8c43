"""Gradients of a large batch, computed piece by piece."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.metrics.streaming import mean_dtype
from fnn.training.objective import count, may_be_empty
from fnn.types import Array, Key, Params, PyTree, State, wide

Gradient: TypeAlias = Callable[
    [Params, State, PyTree, Key], tuple[PyTree, tuple[State, dict[str, Array]]]
]
"""From `(params, state, batch, key)` to gradients, and the pair of state and metrics."""


def accumulated(gradient: Gradient, times: int, objective: Any) -> Gradient:
    """Return Σᵢ wᵢ gradient(batchᵢ) / Σᵢ wᵢ, over `times` microbatches of a batch.

    The weights are those of the objective's method `weight`, if it has one, else the
    numbers of examples.

    Microbatches run one after the other, so that only one at a time takes memory. The
    state passes from each to the next, each has a key of its own, and metrics are averaged
    as the gradients are. A microbatch of weight 0 is ignored, even if it is not finite,
    and leaves the state as it is. Metrics are NaN if all weights are 0.
    """

    def whole(
        params: Params, state: State, batch: PyTree, key: Key
    ) -> tuple[PyTree, tuple[State, dict[str, Array]]]:
        microbatches = split(batch, times)
        weights = jax.vmap(getattr(objective, "weight", count))(microbatches)
        shares = weights / jnp.sum(weights)  # NaN if all are 0
        guarded = may_be_empty(objective, batch)

        def add(
            carry: tuple[PyTree, State], part: tuple[PyTree, Array, Key]
        ) -> tuple[tuple[PyTree, State], dict[str, Array]]:
            (total, state), (microbatch, share, key) = carry, part
            grads, (new, metrics) = gradient(params, state, microbatch, key)
            state = tree.where(share > 0, new, state) if guarded else new
            return (tree.add(total, _portion(share, grads)), state), metrics

        start = jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params), state
        parts = microbatches, shares, jax.random.split(key, times)
        (total, state), metrics = jax.lax.scan(add, start, parts)
        grads = jax.tree.map(lambda t, p: t.astype(p.dtype), total, params)
        means = jax.tree.map(lambda m: jax.vmap(_portion)(shares, m).sum(0), metrics)
        if guarded:
            empty = jnp.isnan(shares[0])
            means = jax.tree.map(lambda mean: jnp.where(empty, jnp.nan, mean), means)
        return grads, (state, means)

    return whole


def split(batch: PyTree, times: int) -> PyTree:
    """Return a batch as microbatches, (batch, ...) -> (times, batch / times, ...).

    Number i has the examples i, i + times, i + 2 times, …, so that if a batch is spread
    over devices, each of its microbatches is spread as well.

    Example:
        >>> split(jax.numpy.arange(6), 2)
        Array([[0, 2, 4], [1, 3, 5]], dtype=int32)
    """
    size = checks.leading_length(batch, "a batch")
    check_divisible(size, times)
    return jax.tree.map(
        lambda a: a.reshape(size // times, times, *a.shape[1:]).swapaxes(0, 1), batch
    )


def check_divisible(size: int, times: int) -> None:
    """Raise unless `times` divides `size`."""
    if size % times:
        raise ValueError(
            f"accumulate={times} microbatches can't be made of a batch of {size} "
            f"examples: it must be a multiple of {times}"
        )


def _portion(share: Array, values: PyTree) -> Any:
    """Return share · values in wide dtypes; zeros if the share is 0, also for NaN."""

    def portion(value: Array) -> Array:
        value = value.astype(mean_dtype(value.dtype))
        return jnp.where(share > 0, share.astype(value.dtype) * value, 0)

    return jax.tree.map(portion, values)
