"""Flax linen and Optax."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.optax_step import adam_program


class MLP(nn.Module):
    """Dense layers, with ReLU between them."""

    widths: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for width in self.widths[:-1]:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        return nn.Dense(self.widths[-1], dtype=self.dtype)(x)


class LeNet(nn.Module):
    """LeNet-5."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.max_pool(nn.relu(nn.Conv(6, (5, 5), padding=2)(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (5, 5), padding="VALID")(x))
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(10)(nn.relu(nn.Dense(84)(nn.relu(nn.Dense(120)(x)))))


class CNN(nn.Module):
    """Two convolutions, each with pooling, and two dense layers."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for features in (32, 64):
            x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1))))


class ResNet(nn.Module):
    """ResNet-20 or ResNet-50."""

    network: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def normed(x: Any, size: int, features: int, stride: int) -> Any:
            conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
            norm = functools.partial(nn.BatchNorm, use_running_average=False, momentum=0.9)
            x = conv(features, (size, size), stride, padding=size // 2)(x)
            return norm(epsilon=networks.EPS, dtype=self.dtype)(x)

        if self.network == "resnet50":
            x = nn.relu(normed(x, 7, 64, 2))
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        else:
            x = nn.relu(normed(x, 3, 16, 1))
        for block in networks.blocks(self.network):
            *first, last = block.convolutions
            y = x
            for size, _, features, stride in first:
                y = nn.relu(normed(y, size, features, stride))
            y = normed(y, last[0], *last[2:])
            if block.projects:
                x = normed(x, 1, block.outputs, block.stride)
            x = nn.relu(x + y)
        classes = networks.CLASSES.get(self.network, 10)
        return nn.Dense(classes, dtype=self.dtype)(x.mean((1, 2)))


def network(case: networks.Case) -> nn.Module:
    """Return the network of a case."""
    dtype = jnp.bfloat16 if case.bfloat16 else None
    match case.network:
        case "lenet":
            return LeNet()
        case "cnn":
            return CNN()
        case "resnet20" | "resnet50":
            return ResNet(case.network, dtype)
    return MLP(networks.WIDTHS[case.network][1:], dtype)


def filled(params: Any, arrays: Iterator[Any]) -> Any:
    """Return a tree of these arrays, in the order in which its layers were made."""
    if isinstance(params, dict):
        return {name: filled(part, arrays) for name, part in params.items()}
    array = next(arrays)
    assert array.shape == params.shape, (array.shape, params.shape)
    return jnp.asarray(array)


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    model = network(case)
    variables = model.init(jax.random.key(0), x[:2])
    params = filled(variables["params"], iter(networks.weights(case.network)))

    def apply(params: Any, stats: Any, x: Any) -> tuple[Any, Any]:
        both = {"params": params, "batch_stats": stats}
        output, new = model.apply(both, x, mutable=["batch_stats"])
        return output, new.get("batch_stats", {})

    stats = variables.get("batch_stats", {})
    return adam_program(case, apply, params, stats, (x, y))
