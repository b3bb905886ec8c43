"""Schedules are exact where they change and where they end, compiled or not.

XLA divides by a constant as it multiplies by the rounded reciprocal, also where it does
not optimize. The oracles compute with integers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import schedules

LARGEST = 2**31 - 1
# 235 = ⌈60,000 / 256⌉; among the rest are those whose reciprocal is rounded down, and up.
PERIODS = (1, 3, 41, 49, 235, 1000, 2**24 + 1, LARGEST)


def steps_around(period):
    """Return steps at, before and after the first multiples of a period and the largest."""
    last = LARGEST // period
    multiples = [k * period for k in (0, 1, 2, 3, 4, 2**24 // period, last - 1, last)]
    steps = [m + d for m in multiples for d in (-1, 0, 1)] + [LARGEST]
    return np.clip(steps, 0, LARGEST)


def cosine(t, period):
    return math.sin(math.pi / 2 * (period - min(t, period)) / period) ** 2


def restarted(t, period):
    return cosine(t - min(t // period, 2) * period, period)


def one_cycle(t, period):
    """Rise in 0.07 of the steps, which of 1000 are 70, though 0.07 · 1000 is not."""
    top = 70 if period == 1000 else 0.07 * period
    if t < top:
        return 0.1 + 0.9 * math.sin(math.pi / 2 * t / top) ** 2
    return 0.01 + 0.99 * math.sin(math.pi / 2 * max(period - t, 0) / (period - top)) ** 2


# For each, the schedule of a highest rate and a period, and the rate where the first is 1.
ROWS = {
    "StepDecay": (
        lambda rate, p: schedules.StepDecay(rate, 0.5, p),
        lambda t, p: 0.5 ** min(t // p, 2000),
    ),
    "InverseTimeDecay": (
        lambda rate, p: schedules.InverseTimeDecay(rate, 1.0, p),
        lambda t, p: p / (p + t),
    ),
    "InverseTimeDecay, staircase": (
        lambda rate, p: schedules.InverseTimeDecay(rate, 1.0, p, staircase=True),
        lambda t, p: 1 / (1 + t // p),
    ),
    "ExponentialDecay": (
        lambda rate, p: schedules.ExponentialDecay(rate, 0.5, p),
        lambda t, p: 0.5 ** min(t / p, 2000),
    ),
    "PolynomialDecay": (
        lambda rate, p: schedules.PolynomialDecay(rate, p, power=0.5),
        lambda t, p: math.sqrt(max(p - t, 0) / p),
    ),
    "PolynomialDecay, to a rate": (
        lambda rate, p: schedules.PolynomialDecay(rate, p, 0.3, power=3.0),
        lambda t, p: 0.3 + 0.7 * (max(p - t, 0) / p) ** 3,
    ),
    "PolynomialDecay, not falling": (
        lambda rate, p: schedules.PolynomialDecay(rate, p, power=0.0),
        lambda t, p: 1.0 if t < p else 0.0,
    ),
    "CosineDecay": (schedules.CosineDecay, cosine),
    "CosineDecay, restarted": (
        lambda rate, p: schedules.Piecewise(
            (p, 2 * p), (schedules.CosineDecay(rate, p),) * 3
        ),
        restarted,
    ),
    "Warmup": (
        lambda rate, p: schedules.Warmup(schedules.StepDecay(rate, 0.5, p), p, 0.1),
        lambda t, p: 0.1 + 0.9 * t / p if t < p else 0.5 ** min(t // p - 1, 2000),
    ),
    "OneCycle": (
        lambda rate, p: schedules.OneCycle(rate, p, 0.07, 10.0, 100.0),
        one_cycle,
    ),
    "Piecewise": (
        lambda rate, p: schedules.Piecewise((p, 3 * p), (0.2, rate, 0.3)),
        lambda t, p: 0.2 if t < p else 1.0 if t < 3 * p else 0.3,
    ),
    "ByEpoch": (
        lambda rate, p: schedules.ByEpoch(
            schedules.Warmup(schedules.InverseTimeDecay(rate, 1.0, 2, staircase=True), 2), p
        ),
        lambda t, p: t // p / 2 if t < 2 * p else 1 / (t // p // 2),
    ),
}


def rates_of(rate, steps, each=jax.vmap):
    """Return the rates of all rows, (periods, steps) each, for the first periods."""
    return {
        name: jnp.stack(
            [each(make(rate, p))(t) for p, t in zip(PERIODS, steps, strict=False)]
        )
        for name, (make, _) in ROWS.items()
    }


def check(found, steps, dtype):
    for name, (_, oracle) in ROWS.items():
        pairs = zip(PERIODS, steps, strict=False)
        expected = np.array([[oracle(int(t), p) for t in ts] for p, ts in pairs])
        found_here = np.asarray(found[name])
        # A power magnifies the rounding of its exponent, which here is up to 2⁷.
        power = 2.0**7 if name == "ExponentialDecay" else 1.0
        np.testing.assert_allclose(
            found_here,
            expected,
            rtol=8 * power * float(np.finfo(dtype).eps),
            atol=2 * float(np.finfo(dtype).tiny),
            err_msg=name,
        )
        ends = np.isin(expected, [0.0, 0.01, 0.1, 0.2, 0.3, 1.0])
        np.testing.assert_array_equal(
            found_here[ends], expected[ends].astype(dtype), err_msg=name
        )


STEPS = np.stack([steps_around(period) for period in PERIODS])


def test_rates_are_exact_at_every_boundary():
    """The rate is an argument of the program, as it is in a search."""
    steps = STEPS.astype(np.int32)
    check(jax.jit(rates_of)(1.0, steps), steps, np.float32)


def test_rates_are_exact_in_64_bits(x64):
    steps = STEPS.astype(np.int64)
    check(jax.jit(lambda t: rates_of(1.0, t))(steps), steps, np.float64)


def test_rates_are_exact_without_compilation():
    steps = STEPS.astype(np.int32)
    with jax.debug_key_reuse(False):  # half of the cost; the test has no keys
        check(rates_of(1.0, steps, each=lambda schedule: schedule), steps, np.float32)


def test_rates_are_exact_at_whole_steps_that_are_floats():
    steps = np.minimum(STEPS, 2**24 - 1).astype(np.float32)[:-2]  # the last are not floats
    check(jax.jit(lambda t: rates_of(1.0, t))(steps), steps, np.float32)


def test_the_worked_boundaries():
    """⌊t / 41⌋ changes at the multiples of 41, and the root of nothing is nothing."""
    steps = np.arange(200, dtype=np.int32)
    rates = np.asarray(jax.jit(jax.vmap(schedules.StepDecay(1.0, 0.5, 41)))(steps))
    assert list(np.flatnonzero(np.diff(rates)) + 1) == [41, 82, 123, 164]
    assert jax.jit(schedules.PolynomialDecay(1.0, 41, power=0.5))(41) == 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_steps_may_be_integers_of_any_size(dtype):
    """The dtype of the step need not hold numbers beyond its range."""
    schedule = schedules.Warmup(schedules.CosineDecay(1.0, 1000), 300)
    for step in (0, 100, 127):
        np.testing.assert_allclose(schedule(dtype(step)), step / 300, rtol=1e-6)
        rate = schedule(jnp.asarray(step, dtype))
        np.testing.assert_allclose(rate, step / 300, rtol=1e-6)


def test_periods_beyond_32_bits_are_never_over():
    period, step = 2**40, 2**30
    assert schedules.StepDecay(1.0, 0.5, period)(step) == 1
    assert schedules.CosineDecay(1.0, period)(step) < 1
    assert schedules.Warmup(1.0, period)(step) == 2.0**-10
    assert schedules.Piecewise((period,), (0.5, 1.0))(step) == 0.5
    assert schedules.ByEpoch(schedules.StepDecay(1.0, 0.5, 1), period)(step) == 1
    assert schedules.StepDecay(1.0, 0.5, 2**39)(period) == 0.25  # a float, as it is larger


def test_rates_between_whole_steps_are_those_of_the_formula(x64):
    for step in (0.5, 40.75, 81.999, 82.0, 100.25):
        for schedule, expected in (
            (schedules.StepDecay(1.0, 0.5, 41), 0.5 ** (step // 41)),
            (schedules.ExponentialDecay(1.0, 0.5, 41), 0.5 ** (step / 41)),
            (schedules.CosineDecay(1.0, 100), (1 + np.cos(np.pi * min(step / 100, 1))) / 2),
            (schedules.Warmup(1.0, 100), min(step / 100, 1)),
        ):
            np.testing.assert_allclose(schedule(step), expected, rtol=1e-10, atol=1e-15)


def test_a_cosine_does_not_cancel_near_its_end():
    """1 + cos(π - x) would be 0 or 200 times too large here, in float32."""
    rate = jax.jit(schedules.CosineDecay(1.0, 10**5))(10**5 - 1)
    np.testing.assert_allclose(rate, math.sin(math.pi / 2e5) ** 2, rtol=1e-6)
