"""Schedules made of several parts, or of other schedules."""

import math

import jax.numpy as jnp

from fnn import checks
from fnn.schedules.base import (
    Rate,
    as_float,
    as_time,
    check_piece,
    check_rate,
    done,
    left,
    mixed,
    periods,
    rate_at,
    reached,
    since,
)
from fnn.schedules.decays import half_cosine
from fnn.types import Array, Schedule
from fnn.values import Value


class Warmup(Value):
    """Raise the rate along a straight line, then follow a schedule.

        α(t) = α₀ + (schedule(0) - α₀) t / steps     for t < steps
        α(t) = schedule(t - steps)                   from then on

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1
    hour".

    Args:
        schedule: The schedule after it, which counts its steps from 0; or a number.
        steps: The number of steps of the rise.
        initial: α₀, the rate of the first step.

    Raises:
        ValueError: If a rate is negative or `steps` is not a positive integer.

    Example:
        >>> schedule = fnn.schedules.Warmup(fnn.schedules.CosineDecay(0.1, 80), steps=20)
        >>> [f"{schedule(step):.3f}" for step in (0, 10, 20, 60, 100)]
        ['0.000', '0.050', '0.100', '0.050', '0.000']
    """

    schedule: Rate
    steps: int
    initial: float = 0.0

    def __post_init__(self) -> None:
        check_piece("schedule", self.schedule)
        check_rate("initial", self.initial)
        self._set(steps=checks.positive_integer("steps", self.steps))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        t = as_time(step)
        initial, peak = as_float(self.initial), rate_at(self.schedule, 0)
        rise = mixed(peak, initial, done(t, self.steps))
        after = rate_at(self.schedule, since(t, self.steps))
        return jnp.where(reached(t, self.steps), after, rise)


class OneCycle(Value):
    """Raise the rate to a peak and let it fall far below: one cycle, two half cosines.

    From peak / start_divisor up to the peak in the first `rise` of the steps, then down
    to peak / end_divisor, where it stays.

    Source: Smith & Topin 2019, "Super-convergence: very fast training of neural networks
    using large learning rates"; with cosines in place of straight lines.

    Args:
        peak: The highest rate.
        steps: The number of steps of the whole cycle.
        rise: The share of the steps in which the rate rises, between 0 and 1.
        start_divisor: The peak divided by the first rate.
        end_divisor: The peak divided by the last rate.

    Raises:
        ValueError: If the rate is negative, `rise` is not between 0 and 1, a divisor is
            less than 1 or `steps` is not a positive integer.

    Example:
        >>> cycle = fnn.schedules.OneCycle(0.1, steps=100, rise=0.25)
        >>> [f"{cycle(step):.6f}" for step in (0, 25, 100)]
        ['0.004000', '0.100000', '0.000001']
    """

    peak: float
    steps: int
    rise: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e5

    def __post_init__(self) -> None:
        check_rate("peak", self.peak)
        checks.between("rise", self.rise, 0, 1)
        if self.rise in (0, 1):
            raise ValueError(
                f"rise must be above 0 and below 1, got {self.rise!r}; to only fall, "
                f"use fnn.schedules.CosineDecay"
            )
        checks.between("start_divisor", self.start_divisor, 1, float("inf"))
        checks.between("end_divisor", self.end_divisor, 1, float("inf"))
        self._set(steps=checks.positive_integer("steps", self.steps))

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        t, top = as_time(step), float(self.rise) * self.steps
        if math.isclose(top, round(top), rel_tol=1e-9):  # 0.07 · 100 is a little above 7
            top = float(round(top))
        up = half_cosine(self.peak, self.peak / self.start_divisor, as_float(t) / top)
        fallen = jnp.minimum(left(t, self.steps) * (self.steps / (self.steps - top)), 1)
        down = half_cosine(self.peak, self.peak / self.end_divisor, fallen)
        return jnp.where(as_float(t) < top, up, down)


class Piecewise(Value):
    """Use one rate or schedule after the other: α(t) = piecesᵢ(t - boundariesᵢ₋₁).

    Piece 0 holds before boundary 0, piece i from boundary i-1 on, that step included. A
    schedule among the pieces counts its steps from the boundary where it begins.

    Args:
        boundaries: Numbers of steps, rising.
        pieces: Numbers or schedules, one more than there are boundaries.

    Raises:
        ValueError: If their numbers don't fit, the boundaries don't rise from 1 or more,
            or a rate is negative.

    Example:
        >>> schedule = fnn.schedules.Piecewise((100, 150), (0.1, 0.01, 0.001))
        >>> [f"{schedule(step):.3f}" for step in (0, 99, 100, 150)]
        ['0.100', '0.100', '0.010', '0.001']
        >>> cosine = fnn.schedules.CosineDecay(0.1, steps=10)
        >>> f"{fnn.schedules.Piecewise((10,), (cosine, cosine))(15):.3f}"
        '0.050'
    """

    boundaries: tuple[int, ...]
    pieces: tuple[Rate, ...]

    def __post_init__(self) -> None:
        boundaries = tuple(
            checks.positive_integer(f"boundaries[{i}]", boundary)
            for i, boundary in enumerate(self.boundaries)
        )
        self._set(boundaries=boundaries, pieces=tuple(self.pieces))
        if list(boundaries) != sorted(set(boundaries)):
            raise ValueError(f"boundaries must rise, got {boundaries}")
        if len(self.pieces) != len(boundaries) + 1:
            raise ValueError(
                f"pieces must be one more than boundaries; got {len(self.pieces)} pieces "
                f"and {len(boundaries)} boundaries"
            )
        for i, piece in enumerate(self.pieces):
            check_piece(f"pieces[{i}]", piece)

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        t = as_time(step)
        rate = rate_at(self.pieces[0], t)
        for begin, piece in zip(self.boundaries, self.pieces[1:], strict=True):
            own = rate_at(piece, since(t, begin))
            rate = jnp.where(reached(t, begin), own, rate)
        return rate


class ByEpoch(Value):
    """Follow a schedule of epochs: α(t) = schedule(⌊t / steps_per_epoch⌋).

    Args:
        schedule: From the number of epochs done, to a rate.
        steps_per_epoch: Number of steps, that is, mini-batches, in an epoch.

    Raises:
        TypeError: If `schedule` is not one.
        ValueError: If `steps_per_epoch` is not a positive integer.

    Example:
        >>> per_epoch = fnn.schedules.StepDecay(0.1, factor=0.5, period=10)
        >>> schedule = fnn.schedules.ByEpoch(per_epoch, steps_per_epoch=600)
        >>> [f"{schedule(step):.3f}" for step in (0, 5999, 6000)]
        ['0.100', '0.100', '0.050']
    """

    schedule: Schedule
    steps_per_epoch: int

    def __post_init__(self) -> None:
        if isinstance(self.schedule, type) or not callable(self.schedule):
            raise TypeError(f"schedule must be a schedule, got {self.schedule!r}")
        steps = checks.positive_integer("steps_per_epoch", self.steps_per_epoch)
        self._set(steps_per_epoch=steps)

    def __call__(self, step: Array) -> Array:
        """Return the rate after `step` steps."""
        epochs, _ = periods(as_time(step), self.steps_per_epoch)
        return rate_at(self.schedule, epochs)
