"""Backtracking keeps to Armijo's condition."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn import optimizers

VECTORS = st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(np.array)
CURVATURES = st.lists(st.floats(0.01, 1e3), min_size=3, max_size=3).map(np.array)


@jax.jit
def search(curvature, w, d, gradient, shrink, decrease):
    return optimizers.backtracking(
        lambda params: 0.5 * jnp.sum(curvature * params["w"] ** 2),
        {"w": w},
        {"w": d},
        {"w": gradient},
        shrink=shrink,
        decrease=decrease,
        max_shrinks=200,
    )


@given(CURVATURES, VECTORS, VECTORS, st.floats(0.2, 0.9), st.floats(1e-4, 0.4))
def test_backtracking_finds_the_first_step_of_armijo(curvature, w, d, shrink, decrease):
    def value(w):
        return float(0.5 * np.sum(curvature * w**2))

    def short_enough(step):
        return value(w + step * d) <= value(w) + decrease * step * slope

    gradient = curvature * w
    slope = gradient @ d
    with jax.enable_x64(True):
        step = float(search(curvature, w, d, gradient, shrink, decrease))
    if not slope < -1e-6:
        return
    assert 0 < step <= 1
    rounding = 1e-12 * (value(w) + value(w + step * d))
    assert value(w + step * d) <= value(w) + decrease * step * slope + rounding
    shrinks = round(np.log(step) / np.log(shrink))
    for k in range(shrinks):
        longer = shrink**k
        bound = value(w) + decrease * longer * slope
        assert value(w + longer * d) > bound - 1e-9 * (1 + value(w))


def test_backtracking_returns_zero_where_nothing_helps():
    def loss(w):
        return jnp.sum(w**2)

    w = jnp.array([1.0, 2.0])
    uphill = optimizers.backtracking(loss, w, 2 * w, 2 * w)
    assert uphill == 0
    assert optimizers.backtracking(loss, w, -2 * w, 2 * w, initial=1e9, max_shrinks=3) == 0
    assert optimizers.backtracking(loss, 0 * w, 0 * w, 0 * w) == 0


def test_backtracking_steps_back_from_where_the_loss_is_not_a_number():
    one = jnp.array(1.0)
    step = optimizers.backtracking(jnp.log, one, -7 * one, one)
    assert step == 0.125  # 1 - 7 s is positive for the first time


def test_backtracking_under_jit_vmap_and_grad(x64):
    @jax.jit
    def minimum(rate, w):
        loss = lambda p: jnp.sum(rate * p**4)  # noqa: E731
        gradient = jax.grad(loss)(w)
        step = optimizers.backtracking(loss, w, -gradient, gradient, initial=rate)
        return loss(w - step * gradient), step

    rates, w = jnp.array([0.1, 1.0, 7.0]), jnp.array([1.0, 2.0])
    losses, steps = jax.jit(jax.vmap(minimum, (0, None)))(rates, w)
    for rate, loss, step in zip(rates, losses, steps, strict=True):
        chex.assert_trees_all_close(minimum(rate, w), (loss, step))
    slope = jax.grad(lambda rate: minimum(rate, w)[0])(1.0)
    numeric = (minimum(1 + 1e-6, w)[0] - minimum(1 - 1e-6, w)[0]) / 2e-6
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)
    np.testing.assert_allclose(
        jax.jacfwd(lambda r: minimum(r, w)[0])(1.0), slope, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shrink": 2.0}, "shrink must be in [0, 1], got 2.0"),
        ({"decrease": -1.0}, "decrease must be in [0, 1], got -1.0"),
        ({"initial": -1.0}, "initial must be in [0, inf], got -1.0"),
        ({"max_shrinks": 0}, "max_shrinks must be a positive integer, got 0"),
    ],
)
def test_backtracking_refuses_bad_arguments(arguments, message):
    w = jnp.ones(2)
    with pytest.raises(ValueError, match=re.escape(message)):
        optimizers.backtracking(jnp.sum, w, -w, w, **arguments)
    with pytest.raises(ValueError, match=r"loss must return a scalar, got float32\[2\]"):
        optimizers.backtracking(lambda w: w, w, -w, w)
