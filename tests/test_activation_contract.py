"""What every activation promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, over
from contracts.activations import ACTIVATIONS
from jax.test_util import check_grads


@over(ACTIVATIONS)
def test_activation_agrees_with_oracle(row, x64):
    x = np.concatenate([np.linspace(-8, 8, 65), [-1e4, -30.0, 30.0, 1e4]])
    y = row.function(jnp.asarray(x))
    np.testing.assert_allclose(y, row.oracle(x), rtol=1e-12, atol=1e-12)


@over(ACTIVATIONS)
def test_activation_gradient_is_right(row, x64):
    x = np.random.default_rng(2).uniform(-5, 5, 40)
    x = x[np.abs(x[:, None] - np.array([*row.kinks, 99.0])).min(1) > 0.1]
    check_grads(row.function, (jnp.asarray(x),), order=2, modes=["fwd", "rev"])
    steep = jax.grad(lambda x: row.function(x).sum())(jnp.array([-1e4, 1e4]))
    assert np.isfinite(steep).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(ACTIVATIONS)
def test_activation_keeps_dtype_and_jits(row, dtype):
    x = example((5,), dtype)
    y = row.function(x)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    tolerance = float(jnp.finfo(dtype).eps) * 8
    chex.assert_trees_all_close(jax.jit(row.function)(x), y, rtol=tolerance, atol=tolerance)
