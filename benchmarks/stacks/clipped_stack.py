"""Sums of clipped per-example gradients: factored by fnn, and formed by `vmap(grad)`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.compiling import figures
from benchmarks.stacks.fnn_stack import network, parameters
from benchmarks.stacks.program import batch, weights
from benchmarks.stacks.shapes import MAX_NORM, PROOF_STEPS
from benchmarks.suite import Program, RefusedError
from fnn import per_example

LIMIT = 2**30  # bytes of gradients that may be formed


def loss(case: str) -> Callable[..., Any]:
    """Return the loss of one example."""
    model = network(case)

    def of_example(params: Any, x: Any, y: Any) -> Any:
        return fnn.losses.softmax_cross_entropy(model(params, x), y)

    return of_example


def program(case: str, clipped: Callable[..., Any]) -> Program:
    """Return the program of the sum, whose norm is the proof."""
    arguments = parameters(weights(case)), *map(jnp.asarray, batch(case))
    jitted = jax.jit(clipped)
    found = figures(lambda: jitted.lower(*arguments))
    leaves = jax.tree.leaves(jitted(*arguments))
    norm = np.sqrt(sum(np.sum(np.square(leaf, dtype="float64")) for leaf in leaves))
    proof = [*[None] * PROOF_STEPS, float(norm)]
    return Program(lambda: jax.block_until_ready(jitted(*arguments)), found, proof)


def factored(case: str) -> Program:
    """Return fnn's sum."""
    clip = per_example.clipped_gradient(loss(case), MAX_NORM)
    return program(case, lambda *arguments: clip(*arguments).gradient)


def formed(case: str) -> Program:
    """Return the sum of the gradients that `vmap(grad)` forms."""
    count = len(batch(case)[1])
    size = count * fnn.tree.nbytes(parameters(weights(case)))
    if size > LIMIT:
        raise RefusedError(f"would form {size / 2**30:.1f} GiB of gradients")
    gradients = jax.vmap(jax.grad(loss(case)), (None, 0, 0))

    def clipped(params: Any, x: Any, y: Any) -> Any:
        formed = gradients(params, x, y)
        leaves = jax.tree.leaves(formed)
        squares = sum(jnp.sum(g * g, range(1, g.ndim)) for g in leaves)
        factors = jnp.minimum(1.0, MAX_NORM / jnp.sqrt(squares))
        return jax.tree.map(lambda g: jnp.tensordot(factors, g, 1), formed)

    return program(case, clipped)
