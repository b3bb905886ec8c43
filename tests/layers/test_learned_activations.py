"""Activation functions with parameters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key

import fnn
from fnn.layers.learned_activations import PReLU


@pytest.mark.parametrize("per_feature", [False, True])
@pytest.mark.parametrize("slope", [0.25, 0.0, -0.5, 1.0])
def test_prelu_is_leaky_relu_at_its_slope(slope, per_feature):
    layer, x = PReLU(slope, per_feature), example((5, 4)).at[0].set(0)
    params, _ = layer.init(key(), x)
    leaky = functools.partial(fnn.activations.leaky_relu, negative_slope=slope)
    chex.assert_trees_all_equal(layer(params, x), leaky(x))
    gradient = jax.grad(lambda x: jnp.sum(layer(params, x)))(x)
    chex.assert_trees_all_equal(gradient, jax.grad(lambda x: jnp.sum(leaky(x)))(x))


def test_prelu_slope_gradient_is_the_sum_of_negative_inputs():
    x = example((5, 4))
    negative = np.minimum(np.asarray(x), 0)
    for layer, axes in ((PReLU(), 0), (PReLU(per_feature=False), None)):
        params, _ = layer.init(key(), x)
        gradient = jax.grad(lambda p, layer=layer: jnp.sum(layer(p, x)))(params)
        np.testing.assert_allclose(gradient["slope"], negative.sum(axes), rtol=1e-6)


def test_prelu_has_a_slope_per_feature_or_one():
    x = jnp.ones((5, 4))
    assert PReLU().init(key(), x)[0]["slope"].shape == (4,)
    assert PReLU(per_feature=False).init(key(), x)[0]["slope"].shape == ()
    y = PReLU()({"slope": jnp.array([0.1, 0.2])}, jnp.array([[-1.0, -1.0], [3.0, -2.0]]))
    np.testing.assert_allclose(y, [[-0.1, -0.2], [3.0, -0.4]], rtol=1e-6)


def test_prelu_takes_numpy_arrays_in_the_precision_of_jax():
    x = np.array([-1.0, 2.0])
    params, _ = PReLU().init(key(), x)
    chex.assert_trees_all_equal(PReLU()(params, x), PReLU()(params, jnp.asarray(x)))


def test_prelu_is_counted_as_prelu():
    params, _ = fnn.Sequential(fnn.Dense(3), PReLU()).init(key(), jnp.ones(2))
    assert set(params) == {"dense_0", "prelu_0"}


def test_prelu_refuses_bad_input():
    params, _ = PReLU().init(key(), jnp.ones((5, 4)))
    message = r"PReLU was initialized for other features.*float32\[4\].*float32\[3\]"
    with pytest.raises(ValueError, match=message):
        PReLU()(params, jnp.ones(3))
    with pytest.raises(TypeError, match=r"PReLU takes floating-point.*int32\[4\]"):
        PReLU().init(key(), jnp.ones(4, jnp.int32))
    with pytest.raises(TypeError, match="PReLU takes floating-point"):
        PReLU()(params, jnp.ones(4, jnp.int32))
    with pytest.raises(ValueError, match="got a scalar"):
        PReLU().init(key(), jnp.ones(()))
    with pytest.raises(ValueError, match="initial must be"):
        PReLU("a")
