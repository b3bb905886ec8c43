"""Schedules of one formula: a rate that stays, or falls."""

import jax.numpy as jnp

from fnn import checks
from fnn.schedules.base import as_float, as_time, check_rate, done, left, mixed, periods
from fnn.types import Array
from fnn.values import Value


class Constant(Value):
    """Keep one rate: α(t) = rate.

    Args:
        rate: α.

    Raises:
        ValueError: If the rate is negative or not one number.

    Example:
        >>> fnn.schedules.Constant(0.1)(5)
        Array(0.1, dtype=float32)
    """

    rate: float

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        return as_float(self.rate)


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
        ValueError: If a number is negative or `period` is not a positive integer.

    Example:
        >>> fnn.schedules.InverseTimeDecay(0.2, decay=1.0, period=100)(300)
        Array(0.05, dtype=float32)
    """

    initial: float
    decay: float
    period: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        check_rate("initial", self.initial)
        checks.between("decay", self.decay, 0, float("inf"))
        self._set(period=checks.positive_integer("period", self.period))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        whole, rest = periods(as_time(step), self.period)
        t = as_float(whole) if self.staircase else _sum(whole, rest, self.period)
        return as_float(self.initial) / (1 + self.decay * t)


class StepDecay(Value):
    """Multiply the rate by a factor every so often: α(t) = α₀ · factor^⌊t / period⌋.

    Args:
        initial: α₀, the rate of the first step.
        factor: The factor of the rate, from 0 to 1.
        period: After how many steps; the steps of n epochs, to do it every n epochs.

    Raises:
        ValueError: If a number is out of range or `period` is not a positive integer.

    Example:
        >>> fnn.schedules.StepDecay(0.1, factor=0.5, period=100)(250)
        Array(0.025, dtype=float32)
    """

    initial: float
    factor: float
    period: int

    def __post_init__(self) -> None:
        check_rate("initial", self.initial)
        checks.between("factor", self.factor, 0, 1)
        self._set(period=checks.positive_integer("period", self.period))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        drops, _ = periods(as_time(step), self.period)
        return as_float(self.initial) * as_float(self.factor) ** as_float(drops)


class ExponentialDecay(Value):
    """Let the rate fall exponentially: α(t) = α₀ · factor^(t / period).

    It is `StepDecay` without the stairs, and α₀ exp(-k t) with k = -log(factor) / period.

    Args:
        initial: α₀, the rate of the first step.
        factor: The factor of the rate per period, from 0 to 1.
        period: The number of steps in which it is.

    Raises:
        ValueError: If a number is out of range or `period` is not a positive integer.

    Example:
        >>> fnn.schedules.ExponentialDecay(0.1, factor=0.25, period=100)(50)
        Array(0.05, dtype=float32)
    """

    initial: float
    factor: float
    period: int = 1

    def __post_init__(self) -> None:
        check_rate("initial", self.initial)
        checks.between("factor", self.factor, 0, 1)
        self._set(period=checks.positive_integer("period", self.period))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        t = _sum(*periods(as_time(step), self.period), self.period)
        return as_float(self.initial) * as_float(self.factor) ** t


class PolynomialDecay(Value):
    """Let the rate fall as a power: α(t) = α₁ + (α₀ - α₁) (1 - t / steps)^power.

    After `steps` steps it stays at α₁.

    Args:
        initial: α₀, the rate of the first step.
        steps: T, the number of steps that the fall takes.
        final: α₁, the rate from then on.
        power: 1 for a straight line, more to fall fast at first.

    Raises:
        ValueError: If a number is negative or `steps` is not a positive integer.

    Example:
        >>> fnn.schedules.PolynomialDecay(0.4, steps=100, power=2.0)(50)
        Array(0.1, dtype=float32)
    """

    initial: float
    steps: int
    final: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        check_rate("initial", self.initial)
        check_rate("final", self.final)
        checks.between("power", self.power, 0, float("inf"))
        self._set(steps=checks.positive_integer("steps", self.steps))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        t = as_time(step)
        # Counted from the nearer end, so that both are hit exactly.
        early, late = 1 - done(t, self.steps), left(t, self.steps)
        share = jnp.where(late < 0.5, late, early) ** self.power
        share = jnp.where(late > 0, share, 0)  # 0⁰ would be 1
        return mixed(as_float(self.initial), as_float(self.final), share)


class CosineDecay(Value):
    """Let the rate fall along half a cosine: α(t) = α₁ + (α₀ - α₁) (1 + cos(π t / T)) / 2.

    T is `steps`; from then on it stays at α₁.

    Source: Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm
    restarts" (without the restarts; `Piecewise` joins several of these).

    Args:
        initial: α₀, the rate of the first step.
        steps: T, the number of steps that the fall takes.
        final: α₁, the rate from then on.

    Raises:
        ValueError: If a rate is negative or `steps` is not a positive integer.

    Example:
        >>> cosine = fnn.schedules.CosineDecay(0.1, steps=100)
        >>> [f"{cosine(step):.3f}" for step in (0, 50, 100, 200)]
        ['0.100', '0.050', '0.000', '0.000']
    """

    initial: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        check_rate("initial", self.initial)
        check_rate("final", self.final)
        self._set(steps=checks.positive_integer("steps", self.steps))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        return half_cosine(self.initial, self.final, left(as_time(step), self.steps))


def half_cosine(high: float | Array, low: float | Array, share: Array) -> Array:
    """Return the value between `low`, at share 0, and `high`, at share 1."""
    # (1 + cos(π - 2x)) / 2 = sin²(x), which does not cancel near 0.
    return mixed(as_float(high), as_float(low), jnp.square(jnp.sin(jnp.pi / 2 * share)))


def _sum(whole: Array, rest: Array, period: int) -> Array:
    """Return the periods done, the one that has begun by its share."""
    return as_float(whole) + done(rest, period)
