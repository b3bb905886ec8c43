"""JAX: the same function as fnn's, on the same arrays in a dict."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.dispatch.fnn_step import start
from benchmarks.dispatch.program import BATCH, program
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Return the step of a case."""
    step, first = start(case)

    def function(arrays: Any, batch: Any) -> tuple[Any, Any]:
        opt_state = type(first.opt_state)(**arrays["opt_state"])
        before = type(first)(**arrays | {"opt_state": opt_state})
        after, metrics = step(before, batch)
        return plain(after), metrics["loss"]

    jitted, batch = jax.jit(function, donate_argnums=0), jnp.asarray(BATCH)
    return program(lambda arrays: jitted(arrays, batch), plain(first))


def plain(state: Any) -> dict[str, Any]:
    """Return the state as dicts."""
    return state._asdict() | {"opt_state": state.opt_state._asdict()}
