"""Laws, edge cases and errors of schedules and controllers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import optimizers, schedules

STEPS = st.integers(0, 2000)


def test_the_decay_of_the_course_is_inverse_time_by_epoch():
    """α₀ / (1 + decay · epoch), with 600 steps an epoch."""
    by_period = schedules.InverseTimeDecay(0.2, 1.0, period=600, staircase=True)
    by_epoch = schedules.ByEpoch(schedules.InverseTimeDecay(0.2, 1.0), 600)
    for epoch, rate in enumerate([0.2, 0.1, 0.2 / 3, 0.05]):
        for step in (600 * epoch, 600 * epoch + 599):
            np.testing.assert_allclose(by_period(step), rate, rtol=1e-6)
            np.testing.assert_allclose(by_epoch(step), rate, rtol=1e-6)


@given(STEPS)
def test_step_decay_is_exponential_decay_at_its_stairs(step):
    stairs = schedules.StepDecay(0.3, 0.5, 100)
    smooth = schedules.ExponentialDecay(0.3, 0.5, 100)
    np.testing.assert_allclose(stairs(step), smooth(step // 100 * 100), rtol=1e-6)
    assert stairs(step) >= smooth(step) * (1 - 1e-6)


def test_exponential_decay_solves_its_differential_equation(x64):
    schedule = schedules.ExponentialDecay(0.3, 0.5, 100)
    k = -np.log(0.5) / 100
    slope = jax.grad(schedule)(37.0)
    np.testing.assert_allclose(slope, -k * schedule(37.0), rtol=1e-12)


FALLING = [
    schedules.InverseTimeDecay(0.3, 0.5, 100),
    schedules.StepDecay(0.3, 0.5, 100),
    schedules.ExponentialDecay(0.3, 0.5, 100),
    schedules.PolynomialDecay(0.3, 1000, 0.01, 2.0),
    schedules.CosineDecay(0.3, 1000, 0.01),
]


@pytest.mark.parametrize("schedule", FALLING, ids=lambda s: type(s).__name__)
@given(STEPS, STEPS)
def test_decays_start_at_their_initial_rate_and_never_rise(schedule, a, b):
    np.testing.assert_allclose(schedule(0), 0.3, rtol=1e-6)
    assert schedule(max(a, b)) <= schedule(min(a, b))


@given(st.integers(1, 500), st.integers(0, 600))
def test_warmup_is_straight_and_then_the_schedule(steps, step):
    after = schedules.CosineDecay(0.3, 100)
    schedule = schedules.Warmup(after, steps)
    expected = 0.3 * step / steps if step < steps else after(step - steps)
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-8)


def test_one_cycle_peaks_once_and_ends_low():
    cycle = schedules.OneCycle(0.1, 100, 0.3)
    rates = np.asarray(jax.vmap(cycle)(jnp.arange(120, dtype=jnp.int32)))
    assert rates.argmax() == 30
    np.testing.assert_allclose(rates[[0, 30]], [0.1 / 25, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rates[100:], 0.1 / 1e5, rtol=1e-2)
    assert np.all(np.diff(rates[:31]) > 0)
    assert np.all(np.diff(rates[30:101]) < 0)


def test_cosines_in_a_row_are_warm_restarts():
    cosine = schedules.CosineDecay(0.1, 10)
    restarts = schedules.Piecewise((10, 20), (cosine,) * 3)
    for step in range(30):
        np.testing.assert_allclose(restarts(step), cosine(step % 10), atol=1e-9)


def test_a_schedule_maps_over_its_configuration():
    rates = jnp.array([0.1, 0.2])
    mapped = jax.vmap(lambda rate: schedules.CosineDecay(rate, 10)(5))(rates)
    np.testing.assert_allclose(mapped, rates / 2, rtol=1e-6)
    mapped = jax.vmap(lambda rate: schedules.Warmup(rate, 10)(5))(rates)
    np.testing.assert_allclose(mapped, rates / 2, rtol=1e-6)


def test_numbers_of_another_dtype_are_converted(x64):
    rate = jnp.float32(0.1)
    for schedule in (
        schedules.InverseTimeDecay(rate, 0.5),
        schedules.PolynomialDecay(rate, 10),
        schedules.CosineDecay(rate, 10),
        schedules.Warmup(rate, 10, initial=rate),
        schedules.OneCycle(rate, 10),
        schedules.Piecewise((3,), (rate, lambda t: jnp.float32(0.5))),
    ):
        assert schedule(jnp.int32(2)).dtype == jnp.float64


# Controllers


def test_bold_driver_that_goes_back_minimizes_from_any_rate():
    """The rate starts a thousand times too high, and the loss never rises."""
    driver, curvature = schedules.BoldDriver(), jnp.array([1.0, 10.0])

    def loss(params):
        return jnp.sum(curvature * params["w"] ** 2)

    def step(carry, _):
        params, trial, state = carry
        state, scale = driver.update(state, loss(trial))
        params = fnn.tree.where(state.accepted, trial, params)
        sgd = optimizers.SGD(100.0 * scale)
        updates, _ = sgd.update(jax.grad(loss)(params), sgd.init(params))
        trial = optimizers.apply_updates(params, updates)
        return (params, trial, state), loss(params)

    start = {"w": jnp.array([3.0, -2.0])}
    _, losses = jax.lax.scan(step, (start, start, driver.init()), length=300)
    assert np.all(np.diff(losses) <= 0)
    assert losses[-1] < 1e-6 * losses[0]


def test_controllers_take_a_nan_for_a_failure():
    driver = schedules.BoldDriver(shrink=0.5)
    state, scale = driver.update(driver.init(), jnp.nan)
    assert (scale, state.accepted) == (0.5, False)
    state, scale = driver.update(state, 1.0)
    assert (scale, state.reference) == (0.5, 1.0)
    plateau = schedules.ReduceOnPlateau(0.5, patience=1)
    state, scale = plateau.update(plateau.init(), jnp.nan)
    assert (scale, state.best) == (0.5, jnp.inf)


def test_the_scale_of_a_controller_is_the_rate_of_an_optimizer():
    plateau, grads = schedules.ReduceOnPlateau(0.1, patience=1), {"w": jnp.ones(1)}
    opt_state, state = optimizers.Adam(0.5).init(grads), plateau.init()

    @jax.jit
    def step(opt_state, state, loss):
        state, scale = plateau.update(state, loss)
        adam = optimizers.Adam(0.5 * scale)
        updates, opt_state = adam.update(grads, opt_state)
        return updates, opt_state, state

    for loss, rate in ((1.0, 0.5), (1.0, 0.05), (0.5, 0.05), (0.5, 0.005)):
        updates, opt_state, state = step(opt_state, state, loss)
        np.testing.assert_allclose(updates["w"], -rate, rtol=1e-5)
        shown = optimizers.current_learning_rate(opt_state)
        np.testing.assert_allclose(shown, rate, rtol=1e-6)


# Errors


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda: schedules.Constant(-0.1),
            ValueError,
            "rate must be in [0, inf], got -0.1",
        ),
        (lambda: schedules.Constant(jnp.ones(2)), ValueError, "rate must be one number"),
        (lambda: schedules.StepDecay(0.1, 2.0, 5), ValueError, "factor must be in [0, 1]"),
        (lambda: schedules.StepDecay(0.1, 0.5, 0), ValueError, "period must be a positive"),
        (
            lambda: schedules.ExponentialDecay(0.1, -1),
            ValueError,
            "factor must be in [0, 1]",
        ),
        (
            lambda: schedules.PolynomialDecay(0.1, 9, power=-1),
            ValueError,
            "power must be in",
        ),
        (
            lambda: schedules.PolynomialDecay(0.1, 1.5),
            ValueError,
            "steps must be a positive",
        ),
        (
            lambda: schedules.CosineDecay(0.1, 10, -1),
            ValueError,
            "final must be in [0, inf]",
        ),
        (
            lambda: schedules.Warmup("fast", 10),
            ValueError,
            "schedule, unless it is a sched",
        ),
        (
            lambda: schedules.Warmup(schedules.Constant, 10),
            ValueError,
            "schedule, unless it",
        ),
        (lambda: schedules.Warmup(0.1, 10, -1), ValueError, "initial must be in [0, inf]"),
        (
            lambda: schedules.OneCycle(0.1, 10, 1.0),
            ValueError,
            "rise must be above 0 and be",
        ),
        (
            lambda: schedules.OneCycle(0.1, 10, 0.3, 0.5),
            ValueError,
            "start_divisor must be",
        ),
        (
            lambda: schedules.Piecewise((5, 5), (1, 2, 3)),
            ValueError,
            "boundaries must rise",
        ),
        (
            lambda: schedules.Piecewise((0,), (1, 2)),
            ValueError,
            "boundaries[0] must be a pos",
        ),
        (
            lambda: schedules.Piecewise((5,), (1,)),
            ValueError,
            "got 1 pieces and 1 boundaries",
        ),
        (
            lambda: schedules.Piecewise((5,), (1, -1)),
            ValueError,
            "pieces[1], unless it is a",
        ),
        (
            lambda: schedules.ByEpoch(0.1, 10),
            TypeError,
            "schedule must be a schedule, got 0.",
        ),
        (
            lambda: schedules.ByEpoch(schedules.Constant(0.1), 0),
            ValueError,
            "steps_per_epoch must be a positive integer, got 0",
        ),
        (lambda: schedules.ReduceOnPlateau(2.0), ValueError, "factor must be in [0, 1]"),
        (
            lambda: schedules.ReduceOnPlateau(patience=0),
            ValueError,
            "patience must be a pos",
        ),
        (
            lambda: schedules.ReduceOnPlateau(min_scale=2),
            ValueError,
            "min_scale must be in",
        ),
        (
            lambda: schedules.BoldDriver(growth=0.5),
            ValueError,
            "growth must be in [1, inf]",
        ),
        (lambda: schedules.BoldDriver(shrink=-1), ValueError, "shrink must be in [0, 1]"),
    ],
)
def test_bad_configuration_is_refused(make, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        make()
