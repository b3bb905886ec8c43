"""Layers, and what they compute."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from contracts import LayerRow, key
from contracts.convolution import CONVOLUTION
from contracts.normalization import NORMALIZATION, dense
from fnn import activations, initializers


def relu(x):
    return np.maximum(x, 0)


def leaky_relu(x):
    return np.where(x > 0, x, 0.1 * x)


@functools.partial(jax.jit, static_argnums=0)
def drawn(layer, x):
    return layer.init(key(), x)


def initialized(layer, x):
    """Return parameters and state of the dtype of x, compiled once for all dtypes."""
    with jax.enable_x64(False):
        trees = drawn(layer, np.asarray(x, np.float32))
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), x.dtype), trees)


class UNet(fnn.Composite):
    """Two paths, of which one is deeper and runs a random block twice."""

    down: fnn.Layer
    blocks: tuple[fnn.Layer, ...]
    up: fnn.Layer

    def compute(self, run, x):
        h = run.down(x)
        for block in (*run.blocks, run.blocks[0]):
            h = block(h)
        return jax.numpy.concatenate([x, run.up(h)], axis=-1)


def unet(p, x):
    h = dense(p["down"], x)
    for name in ("blocks_0", "blocks_1", "blocks_0"):
        h = np.tanh(dense(p[name]["dense_0"], h))
    return np.concatenate([x, dense(p["up"], h)], axis=-1)


def block():
    return fnn.Sequential(fnn.Dense(4), jax.numpy.tanh, fnn.Dropout(0.5))


LAYERS = {
    "Composite": LayerRow(
        lambda: UNet(fnn.Dense(4), (block(), block()), fnn.Dense(2)),
        (3,),
        unet,
        random=True,
    ),
    "Dense": LayerRow(lambda: fnn.Dense(3), (4,), dense),
    "Dense, no bias": LayerRow(lambda: fnn.Dense(3, bias=False), (4,), dense),
    "Dense, over positions": LayerRow(lambda: fnn.Dense(3), (5, 4), dense),
    "Dense, initializers": LayerRow(
        lambda: fnn.Dense(
            3, kernel_init=initializers.Orthogonal(2.0), bias_init=initializers.ones
        ),
        (4,),
        dense,
    ),
    "Flatten": LayerRow(fnn.Flatten, (2, 3, 4), lambda p, x: x.reshape(-1)),
    "Dropout": LayerRow(lambda: fnn.Dropout(0.5), (6,), lambda p, x: x, random=True),
    "Function": LayerRow(
        lambda: fnn.layers.Function(jax.nn.relu), (4,), lambda p, x: relu(x)
    ),
    "Sequential": LayerRow(
        lambda: fnn.Sequential(
            fnn.Flatten(), fnn.Dense(5), jax.nn.relu, fnn.Dropout(0.5), fnn.Dense(2)
        ),
        (2, 3),
        lambda p, x: dense(p["dense_1"], relu(dense(p["dense_0"], x.reshape(-1)))),
        random=True,
    ),
    "Sequential, named": LayerRow(
        lambda: fnn.Sequential(body=fnn.Dense(5), tanh=jax.numpy.tanh, head=fnn.Dense(2)),
        (3,),
        lambda p, x: dense(p["head"], np.tanh(dense(p["body"], x))),
    ),
    "Sequential, partial": LayerRow(
        lambda: fnn.Sequential(
            fnn.Dense(3), functools.partial(jax.nn.leaky_relu, negative_slope=0.1)
        ),
        (3,),
        lambda p, x: leaky_relu(dense(p["dense_0"], x)),
    ),
    "Residual": LayerRow(
        lambda: fnn.Residual(fnn.Sequential(fnn.Dense(3), activations.tanh)),
        (3,),
        lambda p, x: x + np.tanh(dense(p["branch"]["dense_0"], x)),
    ),
    "Residual, shortcut": LayerRow(
        lambda: fnn.Residual(fnn.Dense(2), shortcut=fnn.Dense(2, bias=False)),
        (3,),
        lambda p, x: dense(p["shortcut"], x) + dense(p["branch"], x),
    ),
    "Parallel": LayerRow(
        lambda: fnn.Parallel(
            fnn.Dense(2),
            fnn.Dense(3),
            merge=functools.partial(jax.numpy.concatenate, axis=-1),
        ),
        (4,),
        lambda p, x: np.concatenate([dense(p["dense_0"], x), dense(p["dense_1"], x)]),
    ),
    "Parallel, named": LayerRow(
        lambda: fnn.Parallel(left=fnn.Dense(2), right=fnn.Dropout(0.5)),
        (4,),
        lambda p, x: (dense(p["left"], x), x),
        random=True,
    ),
    "Batched": LayerRow(
        lambda: fnn.batched(fnn.Sequential(fnn.Dense(3), fnn.Dropout(0.5))),
        (5, 4),
        lambda p, x: dense(p["dense_0"], x),
        random=True,
    ),
    "Remat": LayerRow(
        lambda: fnn.Remat(fnn.Sequential(fnn.Dense(3), fnn.Dropout(0.5)), "dots_saveable"),
        (4,),
        lambda p, x: dense(p["dense_0"], x),
        random=True,
    ),
}

LAYERS |= CONVOLUTION | NORMALIZATION
