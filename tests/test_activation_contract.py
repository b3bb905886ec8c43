"""What every activation promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import check_derivatives, example, over
from contracts.activations import ACTIVATIONS

from fnn import activations


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
    steep = jax.jit(jax.grad(lambda x: row.function(x).sum()))(jnp.array([-1e4, 1e4]))
    assert np.isfinite(steep).all()


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(ACTIVATIONS)
def test_activation_and_its_gradient_are_finite_at_any_magnitude(row, dtype):
    largest = float(jnp.finfo(dtype).max)
    x = jnp.asarray([0.0, 1e-7, 1.0, 50.0, 300.0, 3e4, largest / 4], dtype)
    x = jnp.concatenate([x, -x])
    gradient = jax.grad(lambda x: row.function(x).astype("float32").sum())
    y, slopes = jax.jit(lambda x: (row.function(x), gradient(x)))(x)
    assert np.isfinite(np.asarray(y, np.float64)).all()
    assert np.isfinite(np.asarray(slopes, np.float64)).all()


def test_softmax_sums_over_more_classes_than_float16_can_count():
    p = activations.softmax(jnp.zeros(100_000, jnp.float16))
    np.testing.assert_allclose(np.float64(p), 1e-5, rtol=5e-3)
    log_p = activations.log_softmax(jnp.zeros(100_000, jnp.float16))
    np.testing.assert_allclose(np.float64(log_p), -np.log(100_000), rtol=1e-3)
