"""The promises of every loss and metric."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import close, over
from contracts.losses import LOSSES, METRICS, SET_METRICS


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


DTYPES = ("float32", "bfloat16", "float16")


def magnified(shape, dtype):
    """Return outputs whose components are of one, or of several magnitudes."""
    limits = jnp.finfo(dtype)
    largest, smallest, eps = (float(getattr(limits, n)) for n in ("max", "tiny", "eps"))
    scales = [0, 8 * smallest, eps, 0.1, 1, 30, largest**0.5 / 4, largest / 8]
    scales, k = np.array(scales)[:, None], np.arange(np.prod(shape))
    one = scales * np.cos(1 + 2 * k)
    several = (
        scales[(np.arange(len(scales))[:, None] + 3 * k) % len(scales), 0] * (-1.0) ** k
    )
    points = np.concatenate([one, -one, several, -several])
    return points.reshape(-1, *shape).astype(dtype)


@over(LOSSES)
def test_loss_and_its_gradient_are_right_at_any_magnitude(row):
    """Against formulas in float64; targets are also at the ends of their range.

    The forward mode is the same function of float32 for all dtypes. It is not asked for
    where a slope is infinite, as 0 · ∞ is NaN.
    """
    targets = np.concatenate([row.targets[:1], row.edges])
    targets = targets.astype("float32" if targets.dtype.kind == "f" else "int32")

    def reverse(y, t):
        return jax.value_and_grad(row.function)(y, t)

    def forward(y, t):
        return jax.jacfwd(row.function)(y, t)

    def each(function, y):
        return jax.vmap(jax.vmap(function, (None, 0)), (0, None))(y, targets)

    @jax.jit
    def evaluate(outputs):
        return [each(reverse, y) for y in outputs], each(forward, outputs[0])

    outputs = [magnified(row.outputs[0].shape, dtype) for dtype in DTYPES]
    found, found_forward = evaluate(outputs)
    exact_targets = targets.astype("float64" if targets.dtype.kind == "f" else "int64")
    for y, (value, gradient) in zip(outputs, found, strict=True):
        assert value.dtype == gradient.dtype == y.dtype
        pairs = list(itertools.product(y.astype(np.float64), exact_targets))
        with np.errstate(over="ignore", invalid="ignore"):
            exact = np.array([row.oracle(*pair) for pair in pairs]).reshape(value.shape)
            slope = np.array([row.slope(*pair) for pair in pairs]).reshape(gradient.shape)
            close(value, exact)
            close(gradient, slope)
            if y is outputs[0]:
                axes = tuple(range(2, slope.ndim))
                bounded = np.abs(slope).max(axes) < jnp.finfo(y.dtype).max
                close(found_forward[bounded], slope[bounded])


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
