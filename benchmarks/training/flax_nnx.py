"""Flax nnx and Optax, in the functional loop of its guide to performance."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.suite import Program, RefusedError
from benchmarks.training import networks
from benchmarks.training.optax_step import carried_program, mean_loss

RNGS = nnx.Rngs(0)  # of initial weights, all of which are replaced
pool = functools.partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))


class MLP(nnx.Module):
    """Dense layers, with ReLU between them."""

    def __init__(self, *widths: int, dtype: Any = None) -> None:
        pairs = itertools.pairwise(widths)
        self.layers = nnx.List([nnx.Linear(*p, dtype=dtype, rngs=RNGS) for p in pairs])

    def __call__(self, x: Any) -> Any:
        *hidden, last = self.layers
        for layer in hidden:
            x = nnx.relu(layer(x))
        return last(x)


class Convolutional(nnx.Module):
    """Convolutions, each with ReLU and pooling, and dense layers."""

    def __init__(self, convolutions: list[nnx.Conv], widths: tuple[int, ...]) -> None:
        self.convolutions = nnx.List(convolutions)
        self.head = MLP(*widths)

    def __call__(self, x: Any) -> Any:
        for conv in self.convolutions:
            x = pool(nnx.relu(conv(x)))
        return self.head(x.reshape(x.shape[0], -1))


class Normed(nnx.Module):
    """A convolution and a batch norm."""

    def __init__(self, size: int, inputs: int, features: int, stride: int, dtype: Any):
        conv = functools.partial(nnx.Conv, padding=size // 2, use_bias=False)
        self.conv = conv(inputs, features, (size, size), stride, dtype=dtype, rngs=RNGS)
        norm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=networks.EPS)
        self.norm = norm(features, dtype=dtype, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        return self.norm(self.conv(x))


class Residual(nnx.Module):
    """A residual block."""

    def __init__(self, block: networks.Block, dtype: Any) -> None:
        self.branch = nnx.List([Normed(*c, dtype) for c in block.convolutions])
        sizes = (1, block.inputs, block.outputs, block.stride)
        self.shortcut = Normed(*sizes, dtype) if block.projects else None

    def __call__(self, x: Any) -> Any:
        first, second = self.branch
        y = second(nnx.relu(first(x)))
        return nnx.relu(y + (self.shortcut(x) if self.shortcut is not None else x))


class ResNet20(nnx.Module):
    """ResNet-20."""

    def __init__(self, dtype: Any) -> None:
        self.stem = Normed(3, 3, 16, 1, dtype)
        self.blocks = nnx.List([Residual(b, dtype) for b in networks.blocks("resnet20")])
        self.head = MLP(64, 10, dtype=dtype)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def network(case: networks.Case) -> Any:
    """Return the network of a case."""
    dtype = jnp.bfloat16 if case.bfloat16 else None
    conv = functools.partial(nnx.Conv, rngs=RNGS)
    match case.network:
        case "lenet":
            second = conv(6, 16, (5, 5), padding="VALID")
            return Convolutional([conv(1, 6, (5, 5)), second], (400, 120, 84, 10))
        case "cnn":
            both = [conv(1, 32, (3, 3)), conv(32, 64, (3, 3))]
            return Convolutional(both, (3136, 128, 10))
        case "resnet20":
            return ResNet20(dtype)
        case "resnet50":
            raise RefusedError("not written for this network")
    return MLP(*networks.WIDTHS[case.network], dtype=dtype)


def fill(module: Any, arrays: Iterator[Any]) -> None:
    """Put arrays into a module, in the order in which its layers come."""
    match module:
        case nnx.Linear() | nnx.Conv():
            variables = [module.kernel, module.bias]
        case nnx.BatchNorm():
            variables = [module.scale, module.bias]
        case _:
            variables = []
            parts = module if isinstance(module, nnx.List) else vars(module).values()
            for part in parts:
                if isinstance(part, nnx.Module):
                    fill(part, arrays)
    for variable in variables:
        if variable is not None:
            variable[...] = jnp.asarray(next(arrays))


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    model = network(case)
    fill(model, iter(networks.weights(case.network)))
    optimizer = nnx.Optimizer(model, optax.adam(networks.RATE), wrt=nnx.Param)

    def loss(model: Any, x: Any, y: Any) -> Any:
        return mean_loss(case, model(x), y)

    graphdef, state = nnx.split((model, optimizer))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, y: Any) -> Any:
        model, optimizer = nnx.merge(graphdef, state)
        value, grads = nnx.value_and_grad(loss)(model, x, y)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), value

    return carried_program(case, step, state, (x, y))
