"""Equinox and Optax; arrays and the rest apart, as its page on low overhead says."""

import functools
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks.suite import Program, RefusedError
from benchmarks.training import networks
from benchmarks.training.optax_step import adam_program

KEY = jax.random.key(0)  # of initial weights, all of which are replaced


class MLP(eqx.Module):
    """Dense layers, with ReLU between them."""

    layers: list[eqx.nn.Linear]

    def __init__(self, *widths: int) -> None:
        self.layers = [eqx.nn.Linear(*p, key=KEY) for p in itertools.pairwise(widths)]

    def __call__(self, x: Any, state: Any) -> Any:
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x), state


class Convolutional(eqx.Module):
    """Convolutions, each with ReLU and pooling, and dense layers."""

    convolutions: list[eqx.nn.Conv2d]
    pool: eqx.nn.MaxPool2d
    head: MLP

    def __init__(self, convolutions: list[eqx.nn.Conv2d], *widths: int) -> None:
        self.convolutions = convolutions
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.head = MLP(*widths)

    def __call__(self, x: Any, state: Any) -> Any:
        for conv in self.convolutions:
            x = self.pool(jax.nn.relu(conv(x)))
        return self.head(x.ravel(), state)


class Normed(eqx.Module):
    """A convolution and a batch norm."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm

    def __init__(self, size: int, inputs: int, features: int, stride: int) -> None:
        conv = functools.partial(eqx.nn.Conv2d, use_bias=False, key=KEY)
        self.conv = conv(inputs, features, size, stride, size // 2)
        norm = functools.partial(eqx.nn.BatchNorm, axis_name="batch", mode="batch")
        self.norm = norm(features, momentum=0.9, eps=networks.EPS)

    def __call__(self, x: Any, state: Any) -> Any:
        return self.norm(self.conv(x), state)


class Residual(eqx.Module):
    """A residual block."""

    branch: list[Normed]
    shortcut: Normed | None

    def __init__(self, block: networks.Block) -> None:
        self.branch = [Normed(*sizes) for sizes in block.convolutions]
        sizes = (1, block.inputs, block.outputs, block.stride)
        self.shortcut = Normed(*sizes) if block.projects else None

    def __call__(self, x: Any, state: Any) -> Any:
        y, state = self.branch[0](x, state)
        y, state = self.branch[1](jax.nn.relu(y), state)
        if self.shortcut is not None:
            x, state = self.shortcut(x, state)
        return jax.nn.relu(x + y), state


class ResNet20(eqx.Module):
    """ResNet-20."""

    stem: Normed
    blocks: list[Residual]
    head: eqx.nn.Linear

    def __init__(self) -> None:
        self.stem = Normed(3, 3, 16, 1)
        self.blocks = [Residual(block) for block in networks.blocks("resnet20")]
        self.head = eqx.nn.Linear(64, 10, key=KEY)

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.stem(x, state)
        x = jax.nn.relu(x)
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(x.mean((1, 2))), state


def network(name: str) -> eqx.Module:
    """Return the network of a name."""
    conv = functools.partial(eqx.nn.Conv2d, key=KEY)
    match name:
        case "lenet":
            both = [conv(1, 6, 5, padding=2), conv(6, 16, 5)]
            return Convolutional(both, 400, 120, 84, 10)
        case "cnn":
            both = [conv(1, 32, 3, padding=1), conv(32, 64, 3, padding=1)]
            return Convolutional(both, 3136, 128, 10)
        case "resnet20":
            return ResNet20()
        case "resnet50":
            raise RefusedError("not written for this network")
    return MLP(*networks.WIDTHS[name])


def filled(params: Any, name: str) -> Any:
    """Return parameters with the arrays that all rivals begin with."""
    leaves, tree = jax.tree.flatten(params)
    arrays = networks.outputs_first(name)
    pairs = zip(leaves, arrays, strict=True)
    return jax.tree.unflatten(tree, [jnp.asarray(a).reshape(w.shape) for w, a in pairs])


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    if case.bfloat16 and case.network == "resnet20":
        raise RefusedError("its batch norm would take statistics in bfloat16")
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    x = jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x  # channels come first there
    model, state = eqx.nn.make_with_state(network)(case.network)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    params = filled(params, case.network)

    def apply(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        if case.bfloat16:
            params, x = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
        model = eqx.combine(params, static)
        mapped = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return mapped(x, state)

    return adam_program(case, apply, params, state, (x, y))
