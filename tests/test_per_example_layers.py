"""Per-example gradients through every layer, against a loop over single examples."""

import jax
import jax.numpy as jnp
import pytest
from contracts import over
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


@over(LAYERS, where=has_parameters)
def test_layer_is_exact_in_training(row, x64):
    layer, x = row.make(), jax.random.normal(jax.random.key(1), (COUNT, *row.shape))
    params, state = layer.init(jax.random.key(0), x[0])

    def loss(params, x, key):
        return reduced(layer.apply(params, state, x, key=key, train=True)[0])

    check_loss(loss, params, (x, jax.random.split(jax.random.key(2), COUNT)))


@over(EMBEDDING)
def test_layer_of_integers_is_exact(row, x64):
    layer = row.make()
    ids = jax.random.randint(jax.random.key(1), (COUNT, *row.shape), 0, 7)
    params, _ = layer.init(jax.random.key(0), ids[0])
    params = tree.cast(params, jnp.float64)
    check_loss(lambda params, ids: reduced(layer(params, ids)), params, (ids,))


@over(BATCH_NORMALIZATION)
def test_batch_normalization_is_exact_with_stored_statistics(row, x64):
    layer = row.make()
    x = jax.random.normal(jax.random.key(1), (COUNT, *row.shape[1:]))
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
