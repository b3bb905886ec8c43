"""Ways to take the same step of Adam with less memory, or in fewer bits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.compiling import figures
from benchmarks.precision import MLP
from benchmarks.suite import Program

WIDTH, DEPTH = 256, 24
STEPS = 3


def blocks(remat: bool) -> fnn.Layer:
    """Return residual blocks of two layers, as one loop over depth, and a head."""
    block: fnn.Layer = fnn.Residual(
        fnn.Sequential(
            fnn.LayerNorm(), fnn.Dense(WIDTH), jax.nn.gelu, fnn.Dense(WIDTH), jax.nn.gelu
        )
    )
    block = fnn.Remat(block) if remat else block
    return fnn.Sequential(fnn.Dense(WIDTH), fnn.Repeat(block, DEPTH), fnn.Dense(10))


def resnet(remat: bool) -> fnn.Layer:
    """Return the residual network for CIFAR."""
    layers = fnn.models.resnet_cifar(20).layers
    if not remat:
        return fnn.Sequential(*layers)
    kept = (fnn.Remat(x) if isinstance(x, fnn.Residual) else x for x in layers)
    return fnn.Sequential(*kept)


def network(case: str, remat: bool = False) -> fnn.Layer:
    """Return the model of a case, each block of it computed again on request."""
    return blocks(remat) if case == MLP else resnet(remat)


def batch(case: str) -> tuple[jax.Array, jax.Array]:
    """Return inputs and labels."""
    rng = np.random.default_rng(0)
    shape = (1024, WIDTH) if case == MLP else (64, 32, 32, 3)
    x, y = rng.normal(size=shape), rng.integers(10, size=shape[0])
    return jnp.asarray(x, "float32"), jnp.asarray(y, "int32")


def program(
    case: str, model: fnn.Layer, *, accumulate: int = 1, same: bool = True
) -> Program:
    """Return the program of a step, whose losses are the proof if they are the `same`."""
    adam, data = fnn.optimizers.Adam(1e-3), batch(case)
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    step = jax.jit(
        fnn.make_step(objective, adam, accumulate=accumulate),
        donate_argnums=0,
        compiler_options=fnn.compiler_options(),
    )
    params, state = jax.jit(model.init)(jax.random.key(0), data[0][0])
    train_state = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
    found = figures(lambda: step.lower(train_state, data))
    losses = []
    for _ in range(STEPS):
        train_state, metrics = step(train_state, data)
        losses.append(float(metrics["loss"]))
    carried: list[Any] = [train_state]

    def run() -> None:
        carried[0], metrics = step(carried[0], data)
        jax.block_until_ready(metrics)

    found["third loss"] = losses[-1]
    return Program(run, found, losses if same else [None] * STEPS)


def as_it_is(case: str) -> Program:
    """Return the step as it is."""
    return program(case, network(case))


def in_microbatches(case: str, accumulate: int) -> Program:
    """Return the step that splits its batch; batch normalization then sees less of it."""
    return program(case, network(case), accumulate=accumulate, same=case == MLP)


def in_two(case: str) -> Program:
    """Return the step with two microbatches."""
    return in_microbatches(case, 2)


def in_four(case: str) -> Program:
    """Return the step with four microbatches."""
    return in_microbatches(case, 4)


def in_eight(case: str) -> Program:
    """Return the step with eight microbatches."""
    return in_microbatches(case, 8)


def remat(case: str) -> Program:
    """Return the step that computes the inside of each block again."""
    return program(case, network(case, remat=True))


def mixed(case: str) -> Program:
    """Return the step that computes in bfloat16."""
    return program(case, fnn.MixedPrecision(network(case)), same=False)
