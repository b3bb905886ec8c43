"""Shared by the rivals in JAX: a compiled program, its figures, and its proof."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks import compiling
from benchmarks.per_example import draws
from benchmarks.per_example.networks import NETWORKS, Problem
from benchmarks.suite import Program

AXES = (None, 0, 0)
CPU_LIMIT = 2**30

Proof = Callable[[Any], Sequence[float | None]]


def problem(case: str) -> Problem:
    """Return the problem of a case."""
    network, count = draws.split(case)
    return NETWORKS[network](count)


def limit() -> int:
    """Return how many bytes of gradients may be formed: a quarter of an accelerator."""
    stats = jax.devices()[0].memory_stats()
    return stats["bytes_limit"] // 4 if stats else CPU_LIMIT


def check_memory(given: Problem) -> None:
    """Refuse to form a gradient for each example, where these are too large."""
    sizes = [leaf.size for leaf in jax.tree.leaves(given.params)]
    draws.check_memory(sum(sizes), len(given.batch[0]), limit())


def formed(given: Problem) -> Callable[..., tuple[Any, Any]]:
    """Return the function that forms all per-example gradients, and their norms."""
    check_memory(given)

    def forming(params: Any, *batch: Any) -> tuple[Any, Any]:
        grads = jax.vmap(jax.grad(given.loss), AXES)(params, *batch)
        leaves = jax.tree.leaves(grads)
        return grads, jnp.sqrt(sum(jnp.sum(g**2, range(1, g.ndim)) for g in leaves))

    return forming


def norm(tree: Any) -> float:
    """Return the norm of a tree."""
    squares = [np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree)]
    return float(np.sqrt(sum(squares)))


def of_gradient(grads: Any) -> Sequence[float | None]:
    """Return the proof of an ordinary gradient."""
    return norm(grads), None, None


def of_norms(norms: Any) -> Sequence[float | None]:
    """Return the proof of per-example norms."""
    return None, norm(norms), None


def of_clipped(grads: Any) -> Sequence[float | None]:
    """Return the proof of a sum of clipped gradients."""
    return None, None, norm(grads)


def compiled(function: Callable[..., Any], given: Problem, proof: Proof) -> Program:
    """Compile `function(params, inputs, labels)`, and run it once."""
    arguments = given.params, *given.batch
    jitted = jax.jit(function, compiler_options=fnn.compiler_options())
    program, figures = compiling.compiled(lambda: jitted.lower(*arguments))
    if analysis := program.memory_analysis():
        figures["temporaries, MiB"] = analysis.temp_size_in_bytes / 2**20

    def run() -> Any:
        return jax.block_until_ready(program(*arguments))

    return Program(run, figures, proof(run()))
