"""Flax Linen, with Optax and Flax's `TrainState`."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

from benchmarks.stacks.program import program, weights
from benchmarks.stacks.shapes import CLASSES, RATE, SHAPES
from benchmarks.suite import Program


class Block(nn.Module):
    """A residual block."""

    width: int

    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        """Apply it; `nn.scan` wants a carry and an output."""
        return x + nn.relu(nn.Dense(self.width, name="dense")(x)), None


class Stack(nn.Module):
    """Blocks, one after the other or in a loop."""

    depth: int
    width: int
    loop: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Return logits."""
        if self.loop:
            scanned = nn.scan(
                Block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=self.depth,
            )
            x, _ = scanned(self.width, name="blocks")(x, None)
        else:
            for i in range(self.depth):
                x, _ = Block(self.width, name=f"block_{i}")(x)
        return nn.Dense(CLASSES, name="head")(x)


class Convolutional(nn.Module):
    """Convolutions, each followed by max-pooling."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Return logits."""
        for i, channels in enumerate((16, 32)):
            x = nn.relu(nn.Conv(channels, (3, 3), name=f"block_{i}")(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(CLASSES, name="head")(x.reshape(len(x), -1))


def layer(pair: tuple[Any, Any]) -> Any:
    """Return the parameters of a layer."""
    return dict(zip(("kernel", "bias"), map(jnp.asarray, pair), strict=True))


def training(case: str, model: nn.Module, params: Any) -> Program:
    """Return the training step of a module."""

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> Any:
            logits = state.apply_fn({"params": params}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, grads = jax.value_and_grad(loss)(state.params)
        return state.apply_gradients(grads=grads), value

    adam = optax.adam(RATE)
    return program(
        case, step, TrainState.create(apply_fn=model.apply, params=params, tx=adam)
    )


def unrolled(case: str) -> Program:
    """Return the step of a loop in Python."""
    (depth, width, _), (hidden, head) = SHAPES[case], weights(case)
    layers = list(map(layer, hidden))
    params = {
        f"block_{i}": {"dense": own} if depth else own for i, own in enumerate(layers)
    }
    model = Stack(depth, width) if depth else Convolutional()
    return training(case, model, params | {"head": layer(head)})


def looped(case: str) -> Program:
    """Return the step of `nn.scan`."""
    (depth, width, _), (hidden, head) = SHAPES[case], weights(case)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(layer, hidden))
    params = {"blocks": {"dense": stacked}, "head": layer(head)}
    return training(case, Stack(depth, width, loop=True), params)
