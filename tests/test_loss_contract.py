"""What every loss and metric promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import over
from contracts.losses import EXPONENTIAL, LOSSES, METRICS, SET_METRICS


@over({**LOSSES, **METRICS})
def test_loss_agrees_with_oracle_and_maps(row, x64):
    outputs, targets = jnp.asarray(row.outputs), jnp.asarray(row.targets)
    expected = [row.oracle(y, t) for y, t in zip(row.outputs, row.targets, strict=True)]
    expected = np.array(expected, np.float64).reshape(-1)
    pairs = zip(row.outputs, row.targets, strict=True)  # on the host, to compile no slices
    eager = [row.function(jnp.asarray(y), jnp.asarray(t)) for y, t in pairs]
    np.testing.assert_allclose(eager, expected, rtol=1e-12, atol=1e-12)
    mapped = jax.jit(jax.vmap(row.function))(outputs, targets)
    np.testing.assert_allclose(mapped, expected, rtol=1e-12, atol=1e-12)
    assert mapped.shape == (len(expected),)


@over(LOSSES)
def test_loss_derivatives_are_right_in_both_modes(row, x64):
    """The first against differences of the oracle, the second of the first."""
    y, t = np.asarray(row.outputs[0], np.float64), row.targets[0]
    v = np.random.default_rng(1).normal(size=y.shape)
    h = 1e-6

    def loss(y):
        return row.function(y, jnp.asarray(t))

    @jax.jit
    def derivatives(y):
        gradient = jax.grad(loss)
        forward, curved = (jax.jvp(f, (y,), (v,))[1] for f in (loss, gradient))
        return gradient(y), forward, curved, jax.grad(lambda y: jnp.vdot(gradient(y), v))(y)

    grad, forward, curved, twice_reverse = derivatives(y)
    above, below = (np.asarray(derivatives(y + step)[0]) for step in (h * v, -h * v))
    slope = np.ravel(row.oracle(y + h * v, t) - row.oracle(y - h * v, t)).item() / (2 * h)
    np.testing.assert_allclose(forward, slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.vdot(grad, v), forward, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(curved, (above - below) / (2 * h), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(twice_reverse, curved, rtol=1e-10, atol=1e-12)


@over(LOSSES, where=lambda row: row.function not in EXPONENTIAL)
def test_loss_and_gradient_are_finite_at_large_outputs(row):
    def opposed(scale):
        y = jnp.full(row.outputs[0].shape, scale)
        return y.at[0].set(-scale)

    @jax.vmap
    def evaluate(scale):
        loss = jax.value_and_grad(row.function)
        return loss(opposed(scale), jnp.asarray(row.targets[0]))

    value, grad = jax.jit(evaluate)(jnp.array([1e4, -1e4, 0.0], jnp.float32))
    assert np.isfinite(value).all()
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over({**LOSSES, **METRICS})
def test_loss_is_a_scalar_of_the_output_dtype(row, dtype):
    output = jax.ShapeDtypeStruct(row.outputs[0].shape, dtype)
    value = jax.eval_shape(lambda y: row.function(y, row.targets[0]), output)
    assert (value.shape, value.dtype.name) == ((), dtype)


@over(SET_METRICS)
def test_metric_of_a_set_agrees_with_oracle_and_maps(row, x64):
    outputs, targets = jnp.asarray(row.outputs), jnp.asarray(row.targets)
    expected = [row.oracle(y, t) for y, t in zip(row.outputs, row.targets, strict=True)]
    pairs = zip(row.outputs, row.targets, strict=True)  # on the host, to compile no slices
    eager = [row.function(jnp.asarray(y), jnp.asarray(t)) for y, t in pairs]
    np.testing.assert_allclose(eager, expected, rtol=1e-12, atol=1e-12)
    mapped = jax.jit(jax.vmap(row.function))(outputs, targets)
    np.testing.assert_allclose(mapped, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(SET_METRICS, where=lambda row: row.outputs.dtype.kind == "f")
def test_metric_of_a_set_is_reported_in_float32(row, dtype):
    """A figure of a whole data set deserves more than the digits of a half."""
    outputs = jax.ShapeDtypeStruct(row.outputs[0].shape, dtype)
    dtype_of_targets = jax.dtypes.canonicalize_dtype(row.targets.dtype)
    targets = jax.ShapeDtypeStruct(row.targets[0].shape, dtype_of_targets)
    assert jax.eval_shape(row.function, outputs, targets).dtype.name == "float32"
