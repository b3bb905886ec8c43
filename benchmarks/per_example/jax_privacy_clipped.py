"""jax_privacy's sum of clipped gradients."""

import jax_privacy

from benchmarks.per_example.draws import MAX_NORM
from benchmarks.per_example.programs import check_memory, compiled, of_clipped, problem
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)
    check_memory(given)
    clipped = jax_privacy.clipped_grad(
        given.loss, l2_clip_norm=MAX_NORM, batch_argnums=(1, 2), keep_batch_dim=False
    )
    return compiled(clipped, given, of_clipped)
