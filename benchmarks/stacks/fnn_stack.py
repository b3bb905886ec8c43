"""fnn: `Sequential` of blocks, or `Repeat` of one."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.stacks.program import Weights, program, weights
from benchmarks.stacks.shapes import CLASSES, RATE, SHAPES
from benchmarks.suite import Program


def network(case: str) -> fnn.Layer:
    """Return the model of a case, block after block."""
    depth, width, _ = SHAPES[case]
    if depth:
        return fnn.Sequential(*[block(width)] * depth, fnn.Dense(CLASSES))
    return fnn.Sequential(
        fnn.Conv(16, (3, 3), padding="same"), jax.nn.relu, fnn.MaxPool((2, 2)),
        fnn.Conv(32, (3, 3), padding="same"), jax.nn.relu, fnn.MaxPool((2, 2)),
        fnn.Flatten(), fnn.Dense(CLASSES),
    )  # fmt: skip


def block(width: int) -> fnn.Layer:
    """Return a residual block."""
    return fnn.Residual(fnn.Sequential(fnn.Dense(width), jax.nn.relu))


def layer(pair: tuple[Any, Any]) -> Any:
    """Return the parameters of a layer."""
    return dict(zip(("kernel", "bias"), map(jnp.asarray, pair), strict=True))


def parameters(given: Weights) -> Any:
    """Return the parameters of `network`."""
    head = {"dense_0": layer(given.head)}
    layers = list(map(layer, given.hidden))
    if given.hidden[0][0].ndim > 2:
        return {f"conv_{i}": own for i, own in enumerate(layers)} | head
    blocks = ({"branch": {"dense_0": own}} for own in layers)
    return {f"residual_{i}": block for i, block in enumerate(blocks)} | head


def training(case: str, model: fnn.Layer, params: Any) -> Program:
    """Return the training step of a model."""
    adam = fnn.optimizers.Adam(RATE)
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    taken = fnn.make_step(objective, adam)

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        state, metrics = taken(state, (x, y))
        return state, metrics["loss"]

    state = fnn.TrainState.create(params, {}, adam, key=jax.random.key(0))
    return program(case, step, state)


def unrolled(case: str) -> Program:
    """Return the step of a `Sequential`."""
    return training(case, network(case), parameters(weights(case)))


def looped(case: str) -> Program:
    """Return the step of a `Repeat`."""
    depth, width, _ = SHAPES[case]
    given = weights(case)
    model = fnn.Sequential(fnn.Repeat(block(width), depth), fnn.Dense(CLASSES))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(layer, given.hidden))
    repeated = {"stack": {"branch": {"dense_0": stacked}}}
    return training(case, model, {"repeat_0": repeated, "dense_0": layer(given.head)})
