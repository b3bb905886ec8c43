"""Normalizing, stochastic, learned and repeated layers, and what they compute."""

import functools

import jax
import numpy as np

import fnn
from contracts import LayerRow, key
from fnn.initializers import Normal
from fnn.layers.embedding import Embedding
from fnn.layers.learned_activations import PReLU
from fnn.layers.linear import Maxout, Reshape
from fnn.layers.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
)
from fnn.layers.repetition import Repeat
from fnn.layers.stochastic import DropConnect, Dropout, GaussianNoise, StochasticDepth

# Scales and shifts that are not the neutral ones.
DRAWN = {"scale_init": Normal(1.0), "shift_init": Normal(1.0)}


def dense(params, x):
    return x @ params["kernel"] + params.get("bias", 0)


def scale_and_shift(params, z):
    return params.get("scale", 1) * z + params.get("shift", 0)


def standardized(x, axes, eps=1e-5):
    """Return x less its mean, over its deviation; both are over `axes`."""
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps)


def normalized(axes, eps=1e-5):
    return lambda params, x: scale_and_shift(params, standardized(x, axes, eps))


def rms_norm(params, x):
    return scale_and_shift(params, x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5))


def group_norm(groups):
    """Return the oracle, which takes the groups one by one."""

    def oracle(params, x):
        parts = [standardized(part, None) for part in np.split(x, groups, axis=-1)]
        return scale_and_shift(params, np.concatenate(parts, axis=-1))

    return oracle


def maxout(pieces):
    """Return the oracle, which computes map by map."""

    def oracle(params, x):
        kernels = np.split(params["kernel"], pieces, axis=-1)
        biases = np.split(params["bias"], pieces) if "bias" in params else [0] * pieces
        maps = [x @ w + b for w, b in zip(kernels, biases, strict=True)]
        return np.max(maps, axis=0)

    return oracle


def prelu(params, x):
    return np.maximum(x, 0) + params["slope"] * np.minimum(x, 0)


def repeated(block):
    """Return the oracle, a loop over the copies of `block(params, x)`."""

    def oracle(params, x):
        for i in range(len(jax.tree.leaves(params)[0])):
            x = block(jax.tree.map(lambda leaf, i=i: leaf[i], params["stack"]), x)
        return x

    return oracle


def residual_block(params, x):
    return x + np.tanh(dense(params["branch"]["dense_0"], x))


NORMALIZATION = {
    "LayerNorm": LayerRow(lambda: LayerNorm(**DRAWN), (4,), normalized(-1)),
    "LayerNorm, over positions": LayerRow(
        lambda: LayerNorm(1e-3, **DRAWN), (5, 4), normalized(-1, eps=1e-3)
    ),
    "RMSNorm": LayerRow(lambda: RMSNorm(scale_init=Normal(1.0)), (5, 4), rms_norm),
    "RMSNorm, shift": LayerRow(lambda: RMSNorm(shift=True, **DRAWN), (4,), rms_norm),
    "GroupNorm": LayerRow(lambda: GroupNorm(3, **DRAWN), (2, 3, 6), group_norm(3)),
    "InstanceNorm": LayerRow(lambda: InstanceNorm(**DRAWN), (2, 3, 4), normalized((0, 1))),
    "Dropout, whole channels": LayerRow(
        lambda: Dropout(0.5, shared_axes=(0, 1)), (2, 3, 6), lambda p, x: x, random=True
    ),
    "DropConnect": LayerRow(lambda: DropConnect(3, 0.5), (4,), dense, random=True),
    "DropConnect, no bias": LayerRow(
        lambda: DropConnect(3, 0.2, bias=False), (5, 4), dense, random=True
    ),
    "StochasticDepth": LayerRow(
        lambda: fnn.Residual(fnn.Sequential(fnn.Dense(3), StochasticDepth(0.5))),
        (3,),
        lambda p, x: x + dense(p["branch"]["dense_0"], x),
        random=True,
    ),
    "GaussianNoise": LayerRow(
        lambda: GaussianNoise(0.5), (6,), lambda p, x: x, random=True
    ),
    "Maxout": LayerRow(lambda: Maxout(3, pieces=2, bias_init=Normal(1.0)), (4,), maxout(2)),
    "Maxout, over positions": LayerRow(
        lambda: Maxout(2, pieces=3, bias=False), (5, 4), maxout(3)
    ),
    "PReLU": LayerRow(PReLU, (5, 4), prelu),
    "PReLU, shared": LayerRow(lambda: PReLU(0.1, per_feature=False), (5, 4), prelu),
    "Reshape": LayerRow(lambda: Reshape((3, 4)), (2, 6), lambda p, x: x.reshape(3, 4)),
    "Reshape, the rest": LayerRow(
        lambda: Reshape((2, -1, 1)), (4, 3), lambda p, x: x.reshape(2, 6, 1)
    ),
    "Repeat": LayerRow(
        lambda: Repeat(fnn.Residual(fnn.Sequential(fnn.Dense(4), jax.numpy.tanh)), 3),
        (4,),
        repeated(residual_block),
    ),
    "Repeat, random": LayerRow(
        lambda: Repeat(Dropout(0.5), 2), (4,), lambda p, x: x, random=True
    ),
}

# Layers that couple a batch: the shape is that of a batch, the oracle is for training.
BATCH_NORMALIZATION = {
    "BatchNorm": LayerRow(lambda: BatchNorm(**DRAWN), (8, 4), normalized(0)),
    "BatchNorm, images": LayerRow(
        lambda: BatchNorm(**DRAWN), (4, 2, 3, 5), normalized((0, 1, 2))
    ),
    "BatchNorm, all else": LayerRow(
        lambda: BatchNorm("rows", 0.8, 1e-3, False, False, True),
        (4, 3, 5),
        normalized((0, 1), eps=1e-3),
    ),
}

# Layers of integers: the oracle is given positions in a table of 7 rows.
EMBEDDING = {
    "Embedding": LayerRow(lambda: Embedding(7, 3), (5,), lambda p, x: p["table"][x]),
    "Embedding, a matrix": LayerRow(
        lambda: Embedding(7, 2, Normal(0.1)), (2, 3), lambda p, x: p["table"][x]
    ),
    "Embedding, one id": LayerRow(lambda: Embedding(7, 3), (), lambda p, x: p["table"][x]),
}


def plain(make):
    """Return a normalization without parameters and without eps."""
    return make(eps=0.0, scale=False, shift=False)


def trained(model, xs, steps=1):
    """Return the outputs of the last of some steps on one batch, and the state."""
    params, state = model.init(key(), xs)
    for _ in range(steps):
        ys, state = train(model, params, state, xs)
    return params, ys, state


@functools.partial(jax.jit, static_argnums=0)
def train(model, params, state, xs):
    return model.apply(params, state, xs, train=True)
