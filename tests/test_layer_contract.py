"""What every layer promises."""

import chex
import jax
import numpy as np
import pytest
from contracts import example, numpy64, over
from contracts.layers import LAYERS
from jax.test_util import check_grads

import fnn


def key(seed=0):
    return jax.random.key(seed)


@over(LAYERS)
def test_layer_agrees_with_oracle_in_float64(row, x64):
    layer, x = row.make(), example(row.shape, "float64")
    params, state = layer.init(key(), x)
    y, new = layer.apply(params, state, x)
    expected = row.oracle(numpy64(params), np.asarray(x))
    chex.assert_trees_all_close(numpy64(y), expected, rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_equal(layer(params, x), y)
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
    other, _ = layer.init(key(1), x)
    assert jax.tree.structure(other) == jax.tree.structure(params)


@over(LAYERS)
def test_layer_is_the_same_under_jit_and_does_not_recompile(row):
    x = example(row.shape)
    params, state = row.make().init(key(), x)

    traces = []

    def apply(layer, params, state, x, key):
        traces.append(layer)
        return layer.apply(params, state, x, key=key, train=True)

    jitted = jax.jit(apply, static_argnums=0)
    expected = row.make().apply(params, state, x, key=key(2), train=True)
    for _ in range(2):
        y = jitted(row.make(), params, state, x, key(2))
        chex.assert_trees_all_close(y, expected, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1


@over(LAYERS)
def test_layer_batched_is_the_loop_over_examples(row):
    layer, xs = row.make(), example((3, *row.shape))
    params, state = layer.init(key(), xs[0])
    for train in (False, True):
        ys, _ = fnn.batched(layer).apply(params, state, xs, key=key(3), train=train)
        for i, k in enumerate(jax.random.split(key(3), 3)):
            y, _ = layer.apply(params, state, xs[i], key=k, train=train)
            row_i = jax.tree.map(lambda leaf, i=i: leaf[i], ys)
            chex.assert_trees_all_close(row_i, y, rtol=1e-5, atol=1e-6)


@over(LAYERS)
def test_layer_gradient_is_right_in_both_modes(row, x64):
    layer, x = row.make(), example(row.shape, "float64")
    params, state = layer.init(key(), x)

    @jax.jit
    def output(params, x):
        return layer.apply(params, state, x, key=key(4), train=True)[0]

    check_grads(output, (params, x), order=2, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(LAYERS)
def test_layer_keeps_dtype(row, dtype):
    layer, x = row.make(), example(row.shape, dtype)
    params, state = layer.init(key(), x)
    y, _ = layer.apply(params, state, x, key=key(5), train=True)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((params, y))} == {dtype}


@over(LAYERS, where=lambda row: row.random)
def test_random_layer_asks_for_a_typed_key_in_training(row):
    layer, x = row.make(), example(row.shape)
    params, state = layer.init(key(), x)
    with pytest.raises(ValueError, match="needs a key"):
        layer.apply(params, state, x, train=True)
    with pytest.raises(TypeError, match=r"typed key.*got uint32\[2\]"):
        layer.apply(params, state, x, key=jax.random.PRNGKey(0), train=True)
    one, _ = layer.apply(params, state, x, key=key(6), train=True)
    same, _ = layer.apply(params, state, x, key=key(6), train=True)
    chex.assert_trees_all_equal(one, same)
    others = [layer.apply(params, state, x, key=key(s), train=True)[0] for s in range(9)]
    leaves = [np.concatenate([a.ravel() for a in jax.tree.leaves(y)]) for y in others]
    assert len({leaf.tobytes() for leaf in leaves}) > 1
