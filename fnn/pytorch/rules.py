"""The arrays of each layer in PyTorch, and their layout there."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from fnn.layers.base import Layer
from fnn.layers.convolution import Conv, ConvTranspose, DepthwiseConv
from fnn.layers.embedding import Embedding
from fnn.layers.learned_activations import PReLU
from fnn.layers.linear import Dense
from fnn.layers.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from fnn.layers.stochastic import DropConnect
from fnn.types import NDArray, Shape

AFFINE = Dense | DropConnect
CONVOLUTION = Conv | DepthwiseConv | ConvTranspose
PER_FEATURE = BatchNorm | LayerNorm | RMSNorm | PReLU
GROUPED = GroupNorm | InstanceNorm

NAMES = {
    "kernel": "weight",
    "table": "weight",
    "slope": "weight",
    "scale": "weight",
    "shift": "bias",
    "bias": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}


Map: TypeAlias = Callable[[NDArray], NDArray]


class Rule(NamedTuple):
    """The name of an array in PyTorch's module, and the maps between the two."""

    name: str
    to: Map
    back: Map


def rule_of(layer: Layer, name: str, shape: Shape, order: NDArray | None) -> Rule | None:
    """Return the rule for one array of a layer, or None if PyTorch has no such layer.

    Args:
        layer: The layer.
        name: The array's name.
        shape: The array's shape.
        order: For each input feature in PyTorch's order, its index in fnn's.
    """
    theirs = NAMES.get(name)
    if theirs is None:
        return None
    if isinstance(layer, AFFINE) and name == "kernel":
        return Rule(theirs, *_transposed(order))
    if isinstance(layer, ConvTranspose) and name == "kernel":
        return Rule(theirs, *_stamps(layer.groups))
    if isinstance(layer, CONVOLUTION):
        per_position = name == "bias" and len(shape) > 1
        return None if per_position else Rule(theirs, _features_first, _features_last)
    if isinstance(layer, PReLU) and not shape:
        return Rule(theirs, lambda a: a.reshape(1), lambda a: a.reshape(()))
    if isinstance(layer, PER_FEATURE) or (isinstance(layer, GROUPED) and order is None):
        return Rule(theirs, *_reordered(order))
    if isinstance(layer, AFFINE | Embedding):
        return Rule(theirs, *_reordered(None))
    return None


def _reordered(order: NDArray | None) -> tuple[Map, Map]:
    """Return the maps that bring the first axis to an order, and back."""
    if order is None:
        return np.asarray, np.asarray
    inverse = np.argsort(order)
    return (lambda a: a[order]), (lambda a: a[inverse])


def _transposed(order: NDArray | None) -> tuple[Map, Map]:
    """Return the maps between (in, features) and (features, in)."""
    to, back = _reordered(order)
    return (lambda a: to(a).T), (lambda a: back(a.T))


def _features_first(a: NDArray) -> NDArray:
    """Return (window..., in, features) as (features, in, window...)."""
    return a if a.ndim == 1 else np.moveaxis(a, (-1, -2), (0, 1))


def _features_last(a: NDArray) -> NDArray:
    return a if a.ndim == 1 else np.moveaxis(a, (0, 1), (-1, -2))


def _stamps(groups: int) -> tuple[Map, Map]:
    """Return the maps between (window..., in / groups, features) and PyTorch's shape.

    PyTorch's is (in, features / groups, window...), with the groups along the input axis.
    """

    def to(a: NDArray) -> NDArray:
        split = a.reshape(*a.shape[:-1], groups, -1)  # window..., in / groups, groups, out
        split = np.moveaxis(split, (-2, -3, -1), (0, 1, 2))
        return split.reshape(-1, *split.shape[2:])

    def back(a: NDArray) -> NDArray:
        split = a.reshape(groups, -1, *a.shape[1:])
        split = np.moveaxis(split, (0, 1, 2), (-2, -3, -1))
        return split.reshape(*split.shape[:-2], -1)

    return to, back
