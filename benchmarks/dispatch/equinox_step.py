"""Equinox: a module with `filter_jit`, as in its documentation, with Optax."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from benchmarks.dispatch import RATE
from benchmarks.dispatch.program import BATCH, loss, program, weights
from benchmarks.suite import Program


class Model(eqx.Module):
    """Parameters by name."""

    weights: dict[str, jax.Array]


def build(case: str) -> Program:
    """Return the step of a case."""
    optimizer = optax.sgd(RATE)

    @eqx.filter_jit(donate="all-except-first")
    def step(batch: Any, model: Any, state: Any) -> tuple[Any, Any]:
        value, grads = eqx.filter_value_and_grad(loss)(model, batch)
        updates, state = optimizer.update(grads, state, model)
        return (eqx.apply_updates(model, updates), state), value

    model, batch = Model(jax.tree.map(jnp.asarray, weights(case))), jnp.asarray(BATCH)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    return program(lambda carried: step(batch, *carried), (model, state))
