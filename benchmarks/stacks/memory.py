"""The suite `memory`: what a training step takes as its batch grows."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.fits import slope
from benchmarks.stacks.shapes import CNN, MLP
from benchmarks.suite import Row, Suite

FIGURE = "temporaries, MiB"


def per_example(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return a table of how much memory each example takes."""
    del about
    rivals = list(dict.fromkeys(row.rival for row in rows))
    found = {(row.rival, row.case): row.figures[FIGURE] for row in rows if row.figures}
    body = []
    for name, shapes in (("MLP", MLP), ("CNN", CNN)):
        cells = [name]
        for rival in rivals:
            cases = [case for case in shapes if (rival, case) in found]
            sizes = [shapes[case].batch for case in cases]
            used = [found[rival, case] for case in cases]
            cells.append(tables.number(slope(sizes, used)) if len(sizes) > 1 else "")
        body.append(cells)
    head = "MiB of temporaries for each example more, by least squares:"
    return [head, "", *tables.table(["network", *rivals], body)]


SUITE = Suite(
    name="memory",
    title="training step",
    cases=(*MLP, *CNN),
    rivals={
        "fnn": "benchmarks.stacks.fnn_stack:unrolled",
        "JAX": "benchmarks.stacks.raw_stack:unrolled",
        "Flax Linen": "benchmarks.stacks.linen_stack:unrolled",
        "Equinox": "benchmarks.stacks.equinox_stack:unrolled",
        "fnn, clipped": "benchmarks.stacks.clipped_stack:factored",
        "JAX, clipped, `vmap(grad)`": "benchmarks.stacks.clipped_stack:formed",
    },
    bases={"JAX, clipped, `vmap(grad)`": "fnn, clipped"},
    summary=per_example,
    fresh=True,
)
