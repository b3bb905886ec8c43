"""Equinox, with Optax; arrays and the rest are parted once, not at every call."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from benchmarks.stacks.program import program, weights
from benchmarks.stacks.shapes import CLASSES, RATE, SHAPES
from benchmarks.suite import Program


class Stack(eqx.Module):
    """Residual blocks, and a last layer."""

    blocks: list[eqx.nn.Linear]
    head: eqx.nn.Linear

    def __call__(self, x: Any) -> Any:
        """Return the logits of an example."""
        for block in self.blocks:
            x = x + jax.nn.relu(block(x))
        return self.head(x)


class Convolutional(eqx.Module):
    """Convolutions, each followed by max-pooling."""

    blocks: list[eqx.nn.Conv2d]
    pool: eqx.nn.MaxPool2d
    head: eqx.nn.Linear

    def __call__(self, x: Any) -> Any:
        """Return the logits of an image, whose one channel becomes its first axis."""
        x = jnp.moveaxis(x, -1, 0)
        for block in self.blocks:
            x = self.pool(jax.nn.relu(block(x)))
        return self.head(x.reshape(-1))


def loaded(layer: Any, weight: Any, bias: Any) -> Any:
    """Return the layer with its arrays replaced."""
    arrays = jnp.asarray(weight), jnp.asarray(bias).reshape(layer.bias.shape)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, arrays)


def dense(kernel: Any, bias: Any) -> eqx.nn.Linear:
    """Return a linear layer."""
    return loaded(eqx.nn.Linear(*kernel.shape, key=jax.random.key(0)), kernel.T, bias)


def convolution(kernel: Any, bias: Any) -> eqx.nn.Conv2d:
    """Return a convolution."""
    channels = kernel.shape[2:]
    layer = eqx.nn.Conv2d(*channels, 3, padding="SAME", key=jax.random.key(0))
    return loaded(layer, kernel.transpose(3, 2, 0, 1), bias)


def network(case: str) -> Any:
    """Return the model of a case."""
    hidden, (kernel, bias) = weights(case)
    if SHAPES[case].depth:
        return Stack([dense(*pair) for pair in hidden], dense(kernel, bias))
    side = SHAPES[case].width // 4
    channels_first = kernel.reshape(side, side, -1, CLASSES).transpose(2, 0, 1, 3)
    head = dense(channels_first.reshape(kernel.shape), bias)
    return Convolutional([convolution(*p) for p in hidden], eqx.nn.MaxPool2d(2, 2), head)


def unrolled(case: str) -> Program:
    """Return the training step of a case."""
    adam = optax.adam(RATE)
    arrays, static = eqx.partition(network(case), eqx.is_array)

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        arrays, opt_state = state

        def loss(arrays: Any) -> Any:
            logits = jax.vmap(eqx.combine(arrays, static))(x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, grads = jax.value_and_grad(loss)(arrays)
        updates, opt_state = adam.update(grads, opt_state, arrays)
        return (eqx.apply_updates(arrays, updates), opt_state), value

    return program(case, step, (arrays, adam.init(arrays)))
