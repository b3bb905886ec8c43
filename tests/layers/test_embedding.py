"""Embedding: a product with one-hot vectors, that is not computed."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import check_derivatives, key, numpy64, over
from contracts.normalization import EMBEDDING

import fnn
from fnn.layers.embedding import Embedding

LAYER = Embedding(7, 3)


def ids(shape, dtype="int32"):
    return jnp.asarray(np.random.default_rng(0).integers(0, 7, shape), dtype)


def table(layer=LAYER):
    return layer.init(key(), ids(2))[0]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
@over(EMBEDDING)
def test_embedding_agrees_with_oracle(row, dtype, x64):
    layer, x = row.make(), ids(row.shape, dtype)
    params, state = layer.init(key(), x)
    expected = row.oracle(numpy64(params), np.asarray(x))
    np.testing.assert_array_equal(layer(params, x), expected)
    np.testing.assert_array_equal(jax.jit(layer)(params, x), expected)
    assert (state, layer(params, x).dtype) == ({}, "float64")


@over(EMBEDDING)
def test_embedding_maps_over_a_batch(row):
    layer, xs = row.make(), ids((4, *row.shape))
    params, _ = layer.init(key(), xs[0])
    expected = np.stack([row.oracle(params, np.asarray(x)) for x in xs])
    np.testing.assert_array_equal(fnn.batched(layer)(params, xs), expected)


@over(EMBEDDING)
def test_embedding_is_a_value_and_initializes_from_shapes_alone(row):
    layer, x = row.make(), ids(row.shape)
    assert layer == row.make()
    assert hash(layer) == hash(row.make())
    assert eval(repr(layer), {"fnn": fnn, "jax": jax}) == layer
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert layer.replace() == layer
    made = layer.init(key(), jax.ShapeDtypeStruct(x.shape, x.dtype))
    chex.assert_trees_all_equal(made, layer.init(key(), x))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} == {"float32"}


def test_ids_beyond_32_bits_are_no_rows(x64):
    """In 32 bits 2³² is 0, and 2³² + 3 is 3."""
    params, x = table(), jnp.array([2**32, 2**32 + 3, -(2**32), 2**31, 3], jnp.int64)
    rows = jax.jit(LAYER)(params, x)
    assert np.isnan(rows[:4]).all()
    np.testing.assert_array_equal(rows[4], params["table"][3])
    slope = jax.jit(jax.grad(lambda params, x: jnp.nansum(LAYER(params, x))))(params, x)
    np.testing.assert_array_equal(slope["table"][:, 0], np.arange(7) == 3)
    with pytest.raises(ValueError, match="ids must be from 0 to 6"):
        LAYER(params, x)


def test_embedding_is_the_product_with_one_hot_vectors():
    params, x = table(), ids((2, 5))
    expected = jax.nn.one_hot(x, 7, dtype=jnp.float32) @ params["table"]
    np.testing.assert_allclose(LAYER(params, x), expected, rtol=1e-6)


def test_gradient_adds_up_what_came_back_for_each_id():
    x, g = jnp.array([1, 4, 1, 1]), np.random.default_rng(1).normal(size=(4, 3))
    gradient = jax.grad(lambda p: jnp.sum(LAYER(p, x) * jnp.asarray(g, "float32")))(table())
    expected = np.zeros((7, 3))
    np.add.at(expected, np.asarray(x), g)
    np.testing.assert_allclose(gradient["table"], expected, rtol=1e-6)


def test_gradient_is_right_in_both_modes(x64):
    x = ids((2, 5))

    def output(params):
        return jnp.tanh(LAYER(params, x))

    check_derivatives(output, fnn.tree.cast(table(), "float64"))


def test_vectors_have_length_1_on_average():
    rows = table(Embedding(1000, 50))["table"]
    np.testing.assert_allclose(np.square(rows).sum(1).mean(), 1, rtol=0.05)


def test_dtype_is_that_of_the_table():
    half = fnn.tree.cast(table(), "bfloat16")
    assert LAYER(half, ids(4)).dtype == "bfloat16"


def test_no_ids_have_no_vectors():
    assert LAYER(table(), jnp.zeros((0, 2), jnp.int32)).shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("x", "span"),
    [
        (jnp.array([0, 7]), "0 to 7"),
        (jnp.array([-1]), "-1"),
        (np.array([3, 99]), "3 to 99"),
    ],
)
def test_ids_that_are_seen_out_of_range_are_refused(x, span):
    with pytest.raises(ValueError, match=f"ids must be from 0 to 6, got {span}"):
        LAYER(table(), x)


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_ids_out_of_range_in_jit_give_nan_and_no_gradient(dtype):
    params, x = table(), jnp.array([2, -1, 7, 100, -7, 6], dtype)
    y = jax.jit(LAYER)(params, x)
    np.testing.assert_array_equal(y[jnp.array([0, 5])], params["table"][jnp.array([2, 6])])
    assert np.isnan(y[1:5]).all()
    gradient = jax.jit(jax.grad(lambda p, x: jnp.nansum(LAYER(p, x))))(params, x)["table"]
    expected = np.zeros((7, 3))
    expected[[2, 6]] = 1
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize(
    "x",
    [jnp.zeros(3), jnp.zeros(3, bool), [1, 2], 3],
    ids=["floats", "bools", "list", "int"],
)
def test_what_are_not_integer_arrays_is_refused(x):
    with pytest.raises(TypeError, match="Embedding takes integer ids, got"):
        LAYER(table(), x)
    with pytest.raises(TypeError, match="Embedding takes integer ids, got"):
        LAYER.init(key(), x)


def test_bad_configuration_and_keys_are_refused():
    with pytest.raises(ValueError, match="vocabulary must be a positive integer, got 0"):
        Embedding(0, 3)
    with pytest.raises(ValueError, match="features must be a positive integer, got -1"):
        Embedding(7, -1)
    with pytest.raises(TypeError, match="typed key"):
        LAYER.init(jax.random.PRNGKey(0), ids(3))
