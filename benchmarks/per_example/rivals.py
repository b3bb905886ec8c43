"""What is compared in JAX: three ways to norms and clipped gradients."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax_privacy
import numpy as np

from benchmarks.per_example.networks import Problem
from fnn import per_example

MAX_NORM = 1.0
ORDINARY = "ordinary gradient"
NORMS, CLIPPED = "norms", "clipped"
NORMS_FORMED, CLIPPED_FORMED = "norms, vmap(grad)", "clipped, vmap(grad)"
JAX_PRIVACY = "clipped, jax_privacy"


@dataclasses.dataclass
class Rival:
    """A compiled program, and the seconds of its calls."""

    run: Callable[[], Any]
    compile_seconds: float
    temporary: float  # MiB
    seconds: list[float] = dataclasses.field(default_factory=list)

    def sample(self, repeats: int) -> None:
        """Note the mean time of some calls, after one that wakes the threads.

        A single call is a long one, and wakes them itself.
        """
        if repeats > 1:
            jax.block_until_ready(self.run())
        began = time.perf_counter()
        for _ in range(repeats):
            jax.block_until_ready(self.run())
        self.seconds.append((time.perf_counter() - began) / repeats)


def functions(loss: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return what is compared, by name."""
    axes = (None, 0, 0)

    def ordinary(params: Any, *batch: Any) -> Any:
        return jax.grad(lambda p: jnp.mean(jax.vmap(loss, axes)(p, *batch)))(params)

    def norms(params: Any, *batch: Any) -> Any:
        return per_example.gradients(loss)(params, *batch).norms()

    def clipped(params: Any, *batch: Any) -> Any:
        return per_example.clipped_gradient(loss, MAX_NORM)(params, *batch).gradient

    def formed(params: Any, *batch: Any) -> tuple[Any, Any]:
        grads = jax.vmap(jax.grad(loss), axes)(params, *batch)
        leaves = jax.tree.leaves(grads)
        return grads, jnp.sqrt(sum(jnp.sum(g**2, range(1, g.ndim)) for g in leaves))

    def norms_formed(params: Any, *batch: Any) -> Any:
        return formed(params, *batch)[1]

    def clipped_formed(params: Any, *batch: Any) -> Any:
        grads, norms = formed(params, *batch)
        factors = jnp.minimum(1, MAX_NORM / norms)
        return jax.tree.map(lambda g: jnp.tensordot(factors, g, 1), grads)

    peer = jax_privacy.clipped_grad(
        loss, l2_clip_norm=MAX_NORM, batch_argnums=(1, 2), keep_batch_dim=False
    )
    return {
        ORDINARY: ordinary,
        NORMS: norms,
        CLIPPED: clipped,
        NORMS_FORMED: norms_formed,
        CLIPPED_FORMED: clipped_formed,
        JAX_PRIVACY: peer,
    }


def compiled(problem: Problem) -> dict[str, Rival]:
    """Compile all rivals on one problem, and check that they agree."""
    rivals, answers = {}, {}
    for name, function in functions(problem.loss).items():
        began = time.perf_counter()
        program = jax.jit(function).lower(problem.params, *problem.batch).compile()
        seconds = time.perf_counter() - began
        analysis = program.memory_analysis()
        temporary = analysis.temp_size_in_bytes / 2**20 if analysis else float("nan")

        def run(program: Any = program) -> Any:
            return program(problem.params, *problem.batch)

        rivals[name] = Rival(run, seconds, temporary)
        answers[name] = jax.block_until_ready(run())
    _check(answers[NORMS], answers[NORMS_FORMED])
    _check(answers[CLIPPED], answers[CLIPPED_FORMED])
    _check(answers[JAX_PRIVACY], answers[CLIPPED_FORMED])
    return rivals


def _check(got: Any, expected: Any) -> None:
    """Raise an error if two trees are not equal up to the rounding of float32."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4 * np.abs(b).max())
