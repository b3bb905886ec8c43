"""What every loss and metric promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import over
from contracts.losses import LOSSES, METRICS
from jax.test_util import check_grads


@over({**LOSSES, **METRICS})
def test_loss_agrees_with_oracle_and_maps(row, x64):
    outputs, targets = jnp.asarray(row.outputs), jnp.asarray(row.targets)
    expected = [row.oracle(y, t) for y, t in zip(row.outputs, row.targets, strict=True)]
    expected = np.array(expected, np.float64).reshape(-1)
    eager = [row.function(y, t) for y, t in zip(outputs, targets, strict=True)]
    np.testing.assert_allclose(eager, expected, rtol=1e-12, atol=1e-12)
    mapped = jax.jit(jax.vmap(row.function))(outputs, targets)
    np.testing.assert_allclose(mapped, expected, rtol=1e-12, atol=1e-12)
    assert mapped.shape == (len(expected),)


@over(LOSSES)
def test_loss_gradient_is_right(row, x64):
    target = jnp.asarray(row.targets[0])
    check_grads(lambda y: row.function(y, target), (jnp.asarray(row.outputs[0]),), order=2)


@pytest.mark.parametrize("scale", [1e4, -1e4, 0.0])
@over(LOSSES)
def test_loss_and_gradient_are_finite_at_large_outputs(row, scale):
    output = jnp.full(row.outputs[0].shape, scale, jnp.float32).at[0].set(-scale)
    value, grad = jax.value_and_grad(row.function)(output, jnp.asarray(row.targets[0]))
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over({**LOSSES, **METRICS})
def test_loss_is_a_scalar_of_the_output_dtype(row, dtype):
    value = row.function(jnp.asarray(row.outputs[0], dtype), jnp.asarray(row.targets[0]))
    assert (value.shape, value.dtype.name) == ((), dtype)
