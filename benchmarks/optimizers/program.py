"""Shared by the rivals: the leaves, and how a donated update is compiled and run."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.compiling import figures
from benchmarks.optimizers import PROOF_STEPS
from benchmarks.suite import Program


def leaves(count: int, size: int) -> tuple[Any, Any]:
    """Return parameters and gradients."""
    rng = np.random.default_rng(0)

    def draw() -> dict[str, Any]:
        return {
            f"layer_{i:04}": {"kernel": jax.numpy.asarray(rng.normal(size=size), "float32")}
            for i in range(count)
        }

    return draw(), draw()


def norm(params: Any) -> float:
    """Return the Euclidean norm of all leaves, in float64."""
    squares = [np.sum(np.square(x, dtype="float64")) for x in jax.tree.leaves(params)]
    return float(np.sqrt(sum(squares)))


def program(
    update: Callable[[Any, Any, Any], tuple[Any, Any]], params: Any, state: Any, grads: Any
) -> Program:
    """Return the program of `update(params, state, grads) -> (params, state)`."""
    step = jax.jit(update, donate_argnums=(0, 1))
    found = figures(lambda: step.lower(params, state, grads))
    norms = []
    for _ in range(PROOF_STEPS):
        params, state = step(params, state, grads)
        norms.append(norm(params))
    carried = [params, state]

    def run() -> None:
        carried[:] = step(*carried, grads)
        jax.block_until_ready(carried)

    return Program(run, found, norms)
