"""The sum of clipped gradients that `vmap(grad)` forms."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.per_example.draws import MAX_NORM
from benchmarks.per_example.programs import compiled, formed, of_clipped, problem
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)
    forming = formed(given)

    def clipped(params: Any, *batch: Any) -> Any:
        grads, norms = forming(params, *batch)
        factors = jnp.minimum(1, MAX_NORM / norms)
        return jax.tree.map(lambda g: jnp.tensordot(factors, g, 1), grads)

    return compiled(clipped, given, of_clipped)
