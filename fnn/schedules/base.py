"""What all schedules share: time as a floating-point number, and numbers as schedules."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.types import Array, Schedule

Rate: TypeAlias = float | Array | Schedule
"""A rate that stays, or one that changes with the number of steps taken."""


def rate_at(rate: Rate, step: Array | int) -> Array:
    """Return the rate after `step` steps, ()."""
    return as_float(rate(jnp.asarray(step)) if callable(rate) else rate)


def as_float(number: Any) -> Array:
    """Return a number in JAX's default floating dtype."""
    return jnp.asarray(number, jnp.result_type(float))


def check_rate(name: str, rate: Any) -> None:
    """Raise unless `rate` is a number that is not negative, or an array of shape ()."""
    if isinstance(rate, jax.Array) and rate.ndim != 0:
        raise ValueError(f"{name} must be one number, got {checks.describe(rate)}")
    checks.between(name, rate, 0, float("inf"))


def check_piece(name: str, rate: Any) -> None:
    """Raise unless `rate` is a schedule, or what `check_rate` accepts."""
    if isinstance(rate, type) or not callable(rate):
        check_rate(f"{name}, unless it is a schedule,", rate)
