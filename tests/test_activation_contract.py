"""The promises of every activation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import check_derivatives, close, example, over
from contracts.activations import ACTIVATIONS

from fnn import activations

OF_VECTORS = (activations.softmax, activations.log_softmax)


@over(ACTIVATIONS)
def test_activation_agrees_with_oracle(row, x64):
    x = np.concatenate([np.linspace(-8, 8, 65), [-1e4, -30.0, 30.0, 1e4]])
    y = row.function(jnp.asarray(x))
    np.testing.assert_allclose(y, row.oracle(x), rtol=1e-12, atol=1e-12)


@over(ACTIVATIONS)
def test_activation_gradient_is_right(row, x64):
    x = np.random.default_rng(2).uniform(-5, 5, 40)
    x = x[np.abs(x[:, None] - np.array([*row.kinks, 99.0])).min(1) > 0.1]
    check_derivatives(row.function, jnp.asarray(x))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(ACTIVATIONS)
def test_activation_keeps_dtype(row, dtype):
    x = jax.ShapeDtypeStruct((5,), dtype)
    y = jax.eval_shape(row.function, x)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)


@over(ACTIVATIONS)
def test_activation_is_the_same_under_jit(row):
    x = example((5,))
    y = jax.jit(row.function)(x)
    chex.assert_trees_all_close(y, row.function(x), rtol=1e-6, atol=1e-6)


def test_every_activation_has_a_row():
    public = {
        name
        for name, thing in vars(activations).items()
        if getattr(thing, "__module__", "") == "fnn.activations" and callable(thing)
    }
    assert public == {name.split(",")[0] for name in ACTIVATIONS}


@over(ACTIVATIONS)
def test_activation_and_its_derivative_are_right_at_any_magnitude(row):
    """Against formulas in float64; at a kink the derivative is only asked to be finite."""
    inputs = []
    for dtype in ("float32", "bfloat16", "float16"):
        limits = jnp.finfo(dtype)
        largest, smallest, eps = map(float, (limits.max, limits.tiny, limits.eps))
        x = np.array([0, 8 * smallest, eps, 0.1, 1, 3, 6, 30, 300, largest / 4, largest])
        inputs.append(np.concatenate([x, -x]).astype(dtype))

    @jax.jit
    def evaluate(inputs):
        forward = [jax.jvp(row.function, (x,), (jnp.ones_like(x),)) for x in inputs]
        reverse = [jax.vjp(row.function, x)[1](jnp.ones_like(x))[0] for x in inputs]
        return forward, reverse

    for x, (y, forward), reverse in zip(inputs, *evaluate(inputs), strict=True):
        assert y.dtype == reverse.dtype == x.dtype
        exact = x.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            close(y, row.oracle(exact))
            slope = np.where(np.isin(exact, row.kinks), np.nan, row.slope(exact))
            close(reverse, slope)
            if row.function not in OF_VECTORS:
                close(forward, slope)


def test_softmax_sums_over_more_classes_than_float16_can_count():
    p = activations.softmax(jnp.zeros(100_000, jnp.float16))
    np.testing.assert_allclose(np.float64(p), 1e-5, rtol=5e-3)
    log_p = activations.log_softmax(jnp.zeros(100_000, jnp.float16))
    np.testing.assert_allclose(np.float64(log_p), -np.log(100_000), rtol=1e-3)
