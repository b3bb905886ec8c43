"""fnn's per-example norms."""

from typing import Any

from benchmarks.per_example.programs import compiled, of_norms, problem
from benchmarks.suite import Program
from fnn import per_example


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)

    def norms(params: Any, *batch: Any) -> Any:
        return per_example.gradients(given.loss)(params, *batch).norms()

    return compiled(norms, given, of_norms)
