"""fnn's sum of clipped gradients."""

from typing import Any

from benchmarks.per_example.draws import MAX_NORM
from benchmarks.per_example.programs import compiled, of_clipped, problem
from benchmarks.suite import Program
from fnn import per_example


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)
    clip = per_example.clipped_gradient(given.loss, MAX_NORM)

    def clipped(params: Any, *batch: Any) -> Any:
        return clip(params, *batch).gradient

    return compiled(clipped, given, of_clipped)
