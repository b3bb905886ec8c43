"""Per-example norms of gradients that `vmap(grad)` forms."""

from typing import Any

from benchmarks.per_example.programs import compiled, formed, of_norms, problem
from benchmarks.suite import Program


def build(case: str) -> Program:
    """Make a case ready."""
    given = problem(case)
    forming = formed(given)

    def norms(params: Any, *batch: Any) -> Any:
        return forming(params, *batch)[1]

    return compiled(norms, given, of_norms)
