"""The suite `growth`: how the time of a training step grows with each size."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.fits import exponent
from benchmarks.stacks.shapes import GROWTH, SERIES
from benchmarks.suite import Row, Suite


def exponents(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return a table of the exponents with which times grow."""
    del about
    rivals = list(dict.fromkeys(row.rival for row in rows))
    times = {(r.rival, r.case): statistics.median(r.seconds) for r in rows if r.seconds}
    body = []
    for name, series in SERIES.items():
        cells = [f"{name}, {min(series)} to {max(series)}"]
        for rival in rivals:
            sizes = [n for n in series if (rival, f"{name} {n}") in times]
            found = [times[rival, f"{name} {n}"] for n in sizes]
            cells.append(f"{exponent(sizes, found):.2f}" if len(sizes) > 1 else "")
        body.append(cells)
    head = "The exponent k of time = c sizeᵏ, by least squares of the logarithms:"
    return [head, "", *tables.table(["series", *rivals], body)]


SUITE = Suite(
    name="growth",
    title="training step",
    cases=tuple(GROWTH),
    rivals={
        "fnn": "benchmarks.stacks.fnn_stack:unrolled",
        "JAX": "benchmarks.stacks.raw_stack:unrolled",
        "Flax Linen": "benchmarks.stacks.linen_stack:unrolled",
        "Equinox": "benchmarks.stacks.equinox_stack:unrolled",
    },
    summary=exponents,
)
