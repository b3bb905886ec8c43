"""Regularizers, and what they compute."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fnn import regularizers


class RegularizerRow(NamedTuple):
    """A regularizer, and its penalty on the leaves of `PARAMS` given as vectors."""

    make: Callable[[], Any]
    oracle: Callable[..., float]


# Parameters of a model with a convolution, a normalization and two dense layers.
SHAPES = {
    "conv_0": {"bias": (2,), "kernel": (3, 3, 1, 2)},
    "batch_norm_0": {"scale": (2,), "shift": (2,)},
    "head": {"dense_0": {"bias": (3,), "kernel": (2, 3)}, "dense_1": {"kernel": (3, 1)}},
}


def kernels(tree):
    """Return the weights that a penalty acts on by default, in one vector."""
    head = tree["head"]
    leaves = tree["conv_0"], head["dense_0"], head["dense_1"]
    return np.concatenate([np.ravel(leaf["kernel"]) for leaf in leaves])


REGULARIZERS = {
    "L1": RegularizerRow(
        lambda: regularizers.L1(0.1), lambda p: 0.1 * sum(map(abs, kernels(p)))
    ),
    "L2": RegularizerRow(
        lambda: regularizers.L2(0.1), lambda p: 0.1 * sum(w * w for w in kernels(p))
    ),
    "L2, on two patterns": RegularizerRow(
        lambda: regularizers.L2(0.3, on=["head/*bias", "*scale"]),
        lambda p: (
            0.3
            * (
                sum(p["head"]["dense_0"]["bias"] ** 2)
                + sum(p["batch_norm_0"]["scale"] ** 2)
            )
        ),
    ),
    "ElasticNet": RegularizerRow(
        lambda: regularizers.ElasticNet(0.2, 0.1),
        lambda p: sum(0.2 * abs(w) + 0.1 * w * w for w in kernels(p)),
    ),
    "ElasticNet, on the head": RegularizerRow(
        lambda: regularizers.ElasticNet(0.0, 0.5, on="head/dense_1/*"),
        lambda p: 0.5 * float(np.sum(p["head"]["dense_1"]["kernel"] ** 2)),
    ),
}
