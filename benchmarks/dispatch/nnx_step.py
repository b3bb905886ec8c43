"""Flax NNX: a module and its optimizer, updated in place by `nnx.jit`."""

from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.dispatch import RATE
from benchmarks.dispatch.program import BATCH, loss, program, weights
from benchmarks.suite import Program


class Model(nnx.Module):
    """Parameters, each an attribute."""

    def __init__(self, weights: dict[str, Any]) -> None:
        for name, value in weights.items():
            setattr(self, name, nnx.Param(jnp.asarray(value)))


def build(case: str) -> Program:
    """Return the step of a case."""
    model = Model(weights(case))
    optimizer = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        def of_model(model: Any) -> Any:
            return loss(nnx.state(model, nnx.Param), batch)

        value, grads = nnx.value_and_grad(of_model)(model)
        optimizer.update(model, grads)
        return value

    batch = jnp.asarray(BATCH)
    return program(lambda _: (None, step(model, optimizer, batch)), None)
