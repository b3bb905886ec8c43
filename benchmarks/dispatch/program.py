"""Shared by the rivals: parameters, their loss, and how a step is run."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.dispatch import LEAVES, PROOF_STEPS
from benchmarks.suite import Program

BATCH = np.float32(2.0)


def weights(case: str) -> dict[str, np.ndarray]:
    """Return parameters of eight elements each."""
    rng = np.random.default_rng(0)
    draws = (rng.normal(size=8).astype("float32") for _ in range(LEAVES[case]))
    return {f"w_{i:03}": draw for i, draw in enumerate(draws)}


def loss(params: Any, x: Any) -> Any:
    """Return a loss of all leaves, and of a batch of one number."""
    return sum(jax.numpy.sum(p * p) for p in jax.tree.leaves(params)) * x / 2


def program(step: Callable[[Any], Any], state: Any) -> Program:
    """Return the program of a jitted step `state -> (state, loss)`."""
    losses = []
    for _ in range(PROOF_STEPS):
        state, value = step(state)
        losses.append(float(value))
    carried = [state, value]

    def run() -> None:
        carried[:] = step(carried[0])
        jax.block_until_ready(carried[1])

    return Program(run, {}, losses)
