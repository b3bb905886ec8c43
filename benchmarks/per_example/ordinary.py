"""The gradient of the mean loss."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.per_example.programs import AXES, compiled, of_gradient, problem
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)

    def mean(params: Any, *batch: Any) -> Any:
        return jnp.mean(jax.vmap(given.loss, AXES)(params, *batch))

    return compiled(jax.grad(mean), given, of_gradient)
