"""fnn: a `TrainState` and what `make_step` makes, jitted and donated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.dispatch import RATE
from benchmarks.dispatch.program import BATCH, loss, program, weights
from benchmarks.suite import Program


def start(case: str) -> tuple[Callable[..., Any], fnn.TrainState]:
    """Return the step of a case, and the state before it."""

    def objective(params: Any, state: Any, batch: Any, _: Any) -> tuple[Any, Any]:
        value = loss(params, batch)
        return value, (state, {"loss": value})

    sgd = fnn.optimizers.SGD(RATE)
    params = jax.tree.map(jnp.asarray, weights(case))
    state = fnn.TrainState.create(params, {}, sgd, key=jax.random.key(0))
    return fnn.make_step(objective, sgd), state


def build(case: str) -> Program:
    """Return the step of a case."""
    step, state = start(case)
    jitted, batch = jax.jit(step, donate_argnums=0), jnp.asarray(BATCH)

    def call(state: Any) -> tuple[Any, Any]:
        state, metrics = jitted(state, batch)
        return state, metrics["loss"]

    return program(call, state)
