"""Per-example gradients through every layer, against a loop over single examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, over
from contracts.answers import check_loss
from contracts.layers import LAYERS
from contracts.normalization import BATCH_NORMALIZATION, EMBEDDING

import fnn
from fnn import per_example, tree

COUNT = 3


def has_parameters(row):
    shapes, _ = jax.eval_shape(row.make().init, jax.random.key(0), jnp.zeros(row.shape))
    return bool(jax.tree.leaves(shapes))


def reduced(outputs):
    """Return a number whose gradient differs from element to element of the outputs."""
    return sum(
        jnp.sum(jnp.sin(y * jnp.linspace(0.5, 1.5, y.size).reshape(y.shape)))
        for y in jax.tree.leaves(outputs)
    )


def drawn(layer, x):
    """Return parameters of a layer, and its state, at random."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: example(leaf.shape, leaf.dtype), shapes)


@over(LAYERS, where=has_parameters)
def test_layer_is_exact_in_training(row, x64):
    layer, x = row.make(), example((COUNT, *row.shape), "float64")
    params, state = drawn(layer, x[0])

    def loss(params, x, key):
        return reduced(layer.apply(params, state, x, key=key, train=True)[0])

    check_loss(loss, params, (x, jax.random.split(jax.random.key(2), COUNT)))


@over(EMBEDDING)
def test_layer_of_integers_is_exact(row, x64):
    layer = row.make()
    ids = np.random.default_rng(1).integers(0, 7, (COUNT, *row.shape), "int32")
    params, _ = drawn(layer, ids[0])
    params = tree.cast(params, jnp.float64)
    check_loss(lambda params, ids: reduced(layer(params, ids)), params, (ids,))


@over(BATCH_NORMALIZATION)
def test_batch_normalization_is_exact_with_stored_statistics(row, x64):
    layer, x = row.make(), example((COUNT, *row.shape[1:]), "float64")
    params, state = layer.init(jax.random.key(0), x[0])
    if params:
        check_loss(
            lambda params, x: reduced(layer.apply(params, state, x)[0]), params, (x,)
        )


@over(BATCH_NORMALIZATION)
def test_batch_normalization_is_refused_in_training(row):
    model = fnn.Sequential(row.make(), fnn.Flatten(), fnn.Dense(2))
    x = jnp.ones(row.shape)
    params, state = model.init(jax.random.key(0), x[0])

    def loss(params, x):
        return jnp.sum(model.apply(params, state, x, train=True)[0])

    with pytest.raises(ValueError, match=r"use fnn\.GroupNorm"):
        per_example.gradients(loss)(params, x)
