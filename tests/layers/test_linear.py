"""Layers made of linear maps, and those that arrange their input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.layers.linear import Maxout, Reshape


def test_maxout_of_one_piece_is_dense():
    x = example((4,))
    params, _ = Maxout(3, pieces=1).init(key(), x)
    chex.assert_trees_all_equal(params, fnn.Dense(3).init(key(), x)[0])
    chex.assert_trees_all_equal(Maxout(3, 1)(params, x), fnn.Dense(3)(params, x))


def test_maxout_holds_relu_leaky_relu_and_the_absolute_value():
    """Course: maxout generalizes the ReLU family."""
    x = jnp.linspace(-2, 2, 9)[:, None]
    for slope in (0.0, 0.1, -1.0):
        y = Maxout(1, 2, bias=False)({"kernel": jnp.array([[1.0, slope]])}, x)
        expected = np.where(x >= 0, x, np.float32(slope) * np.asarray(x))
        np.testing.assert_allclose(y, expected, rtol=1e-6)


@given(st.integers(0, 999), st.floats(0, 1))
def test_maxout_is_convex(seed, t):
    layer, (a, b) = Maxout(3, 4), example((2, 5), seed=seed)
    params, _ = layer.init(key(seed), a)
    t = jnp.float32(t)
    between = layer(params, t * a + (1 - t) * b)
    chord = t * layer(params, a) + (1 - t) * layer(params, b)
    np.testing.assert_array_less(between, chord + 1e-5)


def test_maxout_gradient_goes_to_the_largest_piece():
    params = {"kernel": jnp.array([[1.0, -1.0]])}
    layer = Maxout(1, 2, bias=False)
    gradient = jax.grad(lambda p: layer(p, jnp.array([-3.0]))[0])(params)
    assert gradient["kernel"].tolist() == [[0, -3]]


def test_maxout_refuses_bad_input_in_its_own_name():
    with pytest.raises(ValueError, match="features must be a positive integer, got 0"):
        Maxout(0, 2)
    with pytest.raises(ValueError, match="pieces must be a positive integer, got 0"):
        Maxout(2, 0)
    layer = Maxout(2, 3)
    params, _ = layer.init(key(), jnp.ones(4))
    with pytest.raises(ValueError, match=r"Maxout was initialized for.*\(\.\.\., 4\)"):
        layer(params, jnp.ones(3))
    with pytest.raises(ValueError, match=r"batch of 5 examples, use fnn.batched"):
        layer(params, jnp.ones((5, 2, 2)))
    with pytest.raises(TypeError, match="Maxout takes floating-point"):
        layer.init(key(), jnp.ones(4, jnp.int32))
    with pytest.raises(ValueError, match=r"Maxout takes x of shape .* got a scalar"):
        layer.init(key(), jnp.ones(()))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((24,), (24,)),
        ((2, -1), (2, 12)),
        ([-1, 3, 4], (2, 3, 4)),
        ((1, 24, 1), (1, 24, 1)),
    ],
)
def test_reshape_arranges_in_row_major_order(shape, expected):
    x = np.arange(24, dtype=np.int32).reshape(4, 6)
    y = Reshape(shape)({}, jnp.asarray(x))
    np.testing.assert_array_equal(y, x.reshape(expected))


def test_reshape_of_one_element_to_a_scalar():
    assert Reshape(())({}, jnp.ones((1, 1))).shape == ()


def test_reshape_undoes_flatten():
    x = example((3, 4, 2))
    model = fnn.Sequential(fnn.Flatten(), Reshape((3, 4, 2)))
    chex.assert_trees_all_equal(model({}, x), x)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (12, "shape must be a tuple of integers, got 12"),
        ((-1, -1), r"-1 at most once, got \(-1, -1\)"),
        ((3, 0), "positive integer, got 0"),
        ((3, 2.0), "positive integer, got 2.0"),
        ((-2, 3), "positive integer, got -2"),
    ],
)
def test_reshape_refuses_what_is_no_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        Reshape(shape)


@pytest.mark.parametrize("shape", [(5,), (-1, 5), (2, 3)])
def test_reshape_refuses_what_does_not_fit(shape):
    message = r"can't arrange the 12 elements of x float32\[3,4\] in the shape"
    with pytest.raises(ValueError, match=message):
        Reshape(shape)({}, jnp.ones((3, 4)))
