"""Helpers of schedules: time in integers, numbers as schedules, and exact ends.

XLA turns a division by a constant into a product with its rounded reciprocal. So a quotient
of floats may miss a whole number, or 1, by a rounding. Therefore time stays an integer
until the last operation.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array, Schedule

Rate: TypeAlias = float | Array | Schedule
"""A rate that stays, or one that changes with the number of steps taken."""


def rate_at(rate: Rate, step: Array | int) -> Array:
    """Return the rate after `step` steps, ()."""
    return as_float(rate(as_time(step)) if callable(rate) else rate)


def as_float(number: Any) -> Array:
    """Return a number in JAX's default floating dtype."""
    return jnp.asarray(number, jnp.result_type(float))


def as_time(step: Any) -> Array:
    """Return a number of steps as an integer of at least 32 bits; a float stays a float."""
    dtype = jnp.result_type(step)
    if jnp.issubdtype(dtype, jnp.floating):
        return as_float(step)
    dtype = jnp.dtype(jnp.int32) if dtype.itemsize < 4 else dtype
    if not isinstance(step, jax.Array) and np.max(step) > jnp.iinfo(dtype).max:
        return as_float(step)
    return jnp.asarray(step, dtype)


def periods(step: Array, period: int) -> tuple[Array, Array]:
    """Return ⌊t / period⌋ and t - period ⌊t / period⌋, both exact."""
    length = _reachable(period, step)
    return (jnp.zeros_like(step), step) if length is None else jnp.divmod(step, length)


def reached(step: Array, begin: int) -> Array:
    """Return whether t ≥ begin, ()."""
    first = _reachable(begin, step)
    return jnp.zeros(step.shape, bool) if first is None else step >= first


def since(step: Array, begin: int) -> Array:
    """Return max(t - begin, 0), in the dtype of t."""
    first = _reachable(begin, step)
    return jnp.zeros_like(step) if first is None else step - jnp.minimum(step, first)


def done(step: Array, steps: int) -> Array:
    """Return t / T, precise near 0."""
    return as_float(step) / float(steps)


def left(step: Array, steps: int) -> Array:
    """Return max(1 - t / T, 0), precise near 0, which it reaches at T exactly."""
    last = _reachable(steps, step)
    if last is None:
        return 1 - done(step, steps)
    return as_float(last - jnp.minimum(step, last)) / float(steps)


def mixed(one: Array, other: Array, share: Array) -> Array:
    """Return share · one + (1 - share) · other: exactly `one` at 1 and `other` at 0."""
    gap = one - other
    return jnp.where(share < 0.5, other + share * gap, one - (1 - share) * gap)


def _reachable(count: int, step: Array) -> Array | None:
    """Return a number of steps in the dtype of t, or None where that can't hold it."""
    if jnp.issubdtype(step.dtype, jnp.integer) and count > jnp.iinfo(step.dtype).max:
        return None
    return jnp.asarray(float(count) if step.dtype.kind == "f" else count, step.dtype)


def check_rate(name: str, rate: Any) -> None:
    """Raise unless `rate` is a number that is not negative, or an array of shape ()."""
    if isinstance(rate, jax.Array) and rate.ndim != 0:
        raise ValueError(f"{name} must be one number, got {checks.describe(rate)}")
    checks.between(name, rate, 0, float("inf"))


def check_piece(name: str, rate: Any) -> None:
    """Raise unless `rate` is a schedule, or what `check_rate` accepts."""
    if isinstance(rate, type) or not callable(rate):
        check_rate(f"{name}, unless it is a schedule,", rate)
