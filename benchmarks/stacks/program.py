"""Shared by the rivals: weights, a batch, and how a step is compiled and run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.compiling import compiled, figures
from benchmarks.stacks.shapes import CLASSES, COMPILE, PROOF_STEPS, SHAPES
from benchmarks.suite import Program

CHANNELS = (1, 16, 32)


class Weights(NamedTuple):
    """Kernels and biases of the blocks, or of the convolutions, and of the last layer."""

    hidden: list[tuple[np.ndarray, np.ndarray]]
    head: tuple[np.ndarray, np.ndarray]


def weights(case: str) -> Weights:
    """Return the initial weights."""
    rng = np.random.default_rng(0)

    def draw(*shape: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        deviation = scale / np.sqrt(np.prod(shape[:-1]))
        kernel = rng.normal(scale=deviation, size=shape)
        return kernel.astype("float32"), np.zeros(shape[-1], "float32")

    shape = SHAPES[case]
    if shape.depth:
        hidden = [draw(shape.width, shape.width, scale=0.3) for _ in range(shape.depth)]
        return Weights(hidden, draw(shape.width, CLASSES))
    hidden = [draw(3, 3, *CHANNELS[i : i + 2], scale=2) for i in range(2)]
    return Weights(hidden, draw(shape.width**2 // 16 * CHANNELS[-1], CLASSES))


def batch(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, of which images are (28, 28, 1), and labels."""
    rng = np.random.default_rng(1)
    depth, width, count = SHAPES[case]
    x = rng.normal(size=(count, width) if depth else (count, width, width, 1))
    return x.astype("float32"), rng.integers(CLASSES, size=count).astype("int32")


def program(case: str, step: Callable[..., Any], state: Any) -> Program:
    """Return the program of a step `(state, x, y) -> (state, loss)`.

    The step is timed, or with the cases of `compile` its compilation.
    """
    data = tuple(map(jax.numpy.asarray, batch(case)))
    shapes = jax.eval_shape(lambda state: state, state)

    def lower() -> Any:
        return jax.jit(step, donate_argnums=0).lower(shapes, *data)

    found = figures(lower)
    jitted = jax.jit(step, donate_argnums=0)
    losses: list[float | None] = []
    for _ in range(PROOF_STEPS):
        state, value = jitted(state, *data)
        losses.append(float(value))
    proof = [*losses, None]
    if case in COMPILE:
        return Program(lambda: sum(compiled(lower)[1].values()), found, proof, clocked=True)
    carried = [state]

    def run() -> None:
        carried[0], value = jitted(carried[0], *data)
        jax.block_until_ready(value)

    return Program(run, found, proof)
