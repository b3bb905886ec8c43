"""The promises of every layer."""

import functools

import chex
import jax
import numpy as np
import pytest
from contracts import check_derivatives, example, key, numpy64, over
from contracts.layers import LAYERS, initialized
from contracts.normalization import BATCH_NORMALIZATION, EMBEDDING

import fnn

TRACED = []


def in_both_modes(layer, params, state, x, keys):
    """Return what the layer computes in inference and in training."""
    modes = zip((False, True), keys, strict=True)
    return [layer.apply(params, state, x, key=key, train=train) for train, key in modes]


@functools.partial(jax.jit, static_argnums=0)
def applied(layer, params, state, x, keys):
    TRACED.append(layer)
    return in_both_modes(layer, params, state, x, keys)


@over(LAYERS)
def test_layer_agrees_with_oracle_in_float64(row, x64):
    layer, x = row.make(), example(row.shape, "float64")
    params, state = initialized(layer, x)

    @jax.jit
    def outputs(params, state, x):
        return layer.apply(params, state, x), layer(params, x)

    (y, new), again = outputs(params, state, x)
    expected = row.oracle(numpy64(params), np.asarray(x))
    chex.assert_trees_all_close(numpy64(y), expected, rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_equal(again, y)
    assert jax.tree.structure(new) == jax.tree.structure(state)


@over(LAYERS)
def test_layer_initializes_from_shapes_alone(row):
    layer, x = row.make(), example(row.shape)
    spec = jax.ShapeDtypeStruct(x.shape, x.dtype)
    params, state = layer.init(key(), x)
    chex.assert_trees_all_equal(layer.init(key(), spec), (params, state))
    shapes = jax.eval_shape(lambda k: layer.init(k, spec), key())
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, (params, state))
    for leaf in jax.tree.leaves((params, state)):
        assert isinstance(leaf, jax.Array)


@over(LAYERS)
def test_layer_is_the_same_under_jit_and_does_not_recompile(row):
    x = example(row.shape)
    params, state = initialized(row.make(), x)
    expected = in_both_modes(row.make(), params, state, x, [key(2), key(3)])
    before = len(TRACED)
    for _ in range(2):
        y = applied(row.make(), params, state, x, [key(2), key(3)])
        chex.assert_trees_all_close(y, expected, rtol=1e-5, atol=1e-6)
    assert len(TRACED) <= before + 1  # none, where another test has done it


@over(LAYERS)
def test_layer_batched_is_the_loop_over_examples(row):
    layer, xs = row.make(), np.asarray(example((3, *row.shape)))
    params, state = initialized(layer, xs[0])
    batched = applied(fnn.batched(layer), params, state, xs, [key(2), key(3)])
    outputs = jax.tree.map(np.asarray, [y for y, _ in batched])
    keys = zip(*(jax.random.split(key(seed), 3) for seed in (2, 3)), strict=True)
    for i, both in enumerate(keys):
        single = [y for y, _ in applied(layer, params, state, xs[i], list(both))]
        row_i = jax.tree.map(lambda leaf, i=i: leaf[i], outputs)
        chex.assert_trees_all_close(row_i, single, rtol=1e-5, atol=1e-6)


@over(LAYERS)
def test_layer_gradient_is_right_in_both_modes(row, x64):
    layer, x = row.make(), example(row.shape, "float64")
    params, state = initialized(layer, x)

    def output(inputs):
        params, x = inputs
        return layer.apply(params, state, x, key=key(4), train=True)[0]

    check_derivatives(output, (params, x))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@over(LAYERS)
def test_layer_keeps_dtype(row, dtype):
    layer, x = row.make(), jax.ShapeDtypeStruct(row.shape, dtype)
    apply = functools.partial(layer.apply, train=True)
    with jax.enable_x64(dtype == "float64"):
        params, state = jax.eval_shape(layer.init, key(), x)
        y, _ = jax.eval_shape(apply, params, state, x, key=key(5))
    assert {leaf.dtype.name for leaf in jax.tree.leaves((params, y))} == {dtype}


@over(LAYERS, where=lambda row: row.random)
def test_random_layer_asks_for_a_typed_key_in_training(row):
    layer, x = row.make(), example(row.shape)
    params, state = initialized(layer, x)
    with pytest.raises(ValueError, match="needs a key"):
        layer.apply(params, state, x, train=True)
    with pytest.raises(TypeError, match=r"typed key.*got uint32\[2\]"):
        layer.apply(params, state, x, key=jax.random.PRNGKey(0), train=True)

    def trained(seed):
        _, (y, _) = applied(layer, params, state, x, [key(0), key(seed)])
        return y

    chex.assert_trees_all_equal(trained(6), trained(6))
    others = [trained(seed) for seed in range(9)]
    leaves = [np.concatenate([np.ravel(a) for a in jax.tree.leaves(y)]) for y in others]
    assert len({leaf.tobytes() for leaf in leaves}) > 1


def test_every_public_layer_has_a_row():
    rows = [*LAYERS, *BATCH_NORMALIZATION, *EMBEDDING]
    layers = {
        name
        for name, thing in ((name, getattr(fnn.layers, name)) for name in dir(fnn.layers))
        if isinstance(thing, type) and issubclass(thing, fnn.Layer)
    }
    # Two are bases, and mixed precision is not to agree with an oracle in float64.
    apart = {"Layer", "Wrapper", "MixedPrecision"}
    assert layers - apart == {name.split(",")[0] for name in rows}
