"""Products of square matrices: the most operations a second that a device achieves."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.suite import Row, Suite

CHAIN = 8  # products, one after the other, of which a run consists


def parse(case: str) -> tuple[int, str]:
    """Return the size and the dtype of a case, such as "1024, float32"."""
    size, dtype = case.split(", ")
    return int(size), dtype


def gflops(row: Row) -> float:
    """Return the GFLOP/s that were achieved."""
    size, _ = parse(row.case)
    return CHAIN * 2 * size**3 / statistics.median(row.seconds) / 1e9


def achieved(_: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return a table of GFLOP/s."""
    rivals = list(dict.fromkeys(row.rival for row in rows))
    cells = {
        (row.case, row.rival): tables.number(gflops(row)) if row.seconds else row.refused
        for row in rows
    }
    cases = dict.fromkeys(row.case for row in rows)
    lines = [[case, *(cells.get((case, rival), "") for rival in rivals)] for case in cases]
    return ["Achieved GFLOP/s:", "", *tables.table(["n, dtype", *rivals], lines)]


SUITE = Suite(
    name="ceiling",
    title="n, dtype",
    cases=tuple(f"{size}, float32" for size in (1024, 2048)),
    rivals={
        "JAX": "benchmarks.ceiling.jax_products",
        "PyTorch": "benchmarks.ceiling.torch_products",
    },
    tolerance=0.05,
    per=f"chain of {CHAIN} products",
    summary=achieved,
    accelerated=(
        "4096, float32",
        *(f"{size}, bfloat16" for size in (1024, 2048, 4096)),
    ),
)
