"""Flax's `TrainState`, with Optax."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from benchmarks.dispatch import RATE
from benchmarks.dispatch.program import BATCH, loss, program, weights
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Return the step of a case."""

    def step(state: Any, batch: Any) -> tuple[Any, Any]:
        value, grads = jax.value_and_grad(loss)(state.params, batch)
        return state.apply_gradients(grads=grads), value

    jitted, batch = jax.jit(step, donate_argnums=0), jnp.asarray(BATCH)
    params = jax.tree.map(jnp.asarray, weights(case))
    state = TrainState.create(apply_fn=loss, params=params, tx=optax.sgd(RATE))
    return program(lambda state: jitted(state, batch), state)
