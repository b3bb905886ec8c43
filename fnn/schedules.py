"""Learning rates as functions of the number of steps taken, as values."""

import jax.numpy as jnp

from fnn import checks
from fnn.types import Array
from fnn.values import Value


class Constant(Value):
    """Keep one rate: α(t) = rate.

    Example:
        >>> fnn.schedules.Constant(0.1)(5)
        Array(0.1, dtype=float32)
    """

    rate: float

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        return jnp.asarray(self.rate, _dtype())


class InverseTimeDecay(Value):
    """Let the rate fall as one over time: α(t) = α₀ / (1 + decay · t / period).

    With `period` the number of steps of an epoch and `staircase`, this is the course's
    α₀ / (1 + decay · epoch).

    Args:
        initial: α₀, the rate of the first step.
        decay: How much the denominator grows in each period.
        period: The number of steps after which the rate has fallen to α₀ / (1 + decay).
        staircase: Whether the rate changes only at the end of each period.

    Raises:
        ValueError: If `decay` is negative or `period` is not a positive integer.

    Example:
        >>> fnn.schedules.InverseTimeDecay(0.2, decay=1.0, period=100)(300)
        Array(0.05, dtype=float32)
    """

    initial: float
    decay: float
    period: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        checks.between("decay", self.decay, 0, float("inf"))
        checks.positive_integer("period", self.period)

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        t = jnp.asarray(step, _dtype()) / self.period
        t = jnp.floor(t) if self.staircase else t
        return jnp.asarray(self.initial / (1 + self.decay * t), _dtype())


def _dtype() -> jnp.dtype:
    return jnp.result_type(float)
