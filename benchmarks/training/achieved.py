"""What training steps achieve, as a share of the device's measured ceiling."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import ceiling, results, tables
from benchmarks.suite import Row

WORK = "work, GFLOP"


def achieved(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return a table of GFLOP/s; the work of each case is that of the rival that tells."""
    work = {row.case: row.figures[WORK] for row in rows if WORK in row.figures}
    rivals = list(dict.fromkeys(row.rival for row in rows))
    most = ceilings(about)
    cells = {(row.case, row.rival): cell(row, work, most) for row in rows}
    lines = [[case, *(cells.get((case, r), "") for r in rivals)] for case in work]
    if not lines:
        return []
    head = "Achieved GFLOP/s, of the operations that raw JAX asks for"
    if most:
        of = ", ".join(f"{tables.number(most[name])} in {name}" for name in most)
        head += f", and the share of the highest of `{ceiling.SUITE.name}`, {of}"
    head += ":"
    return [head, "", *tables.table(["training step", *rivals], lines)]


def cell(row: Row, work: Mapping[str, float], most: Mapping[str, float]) -> str:
    """Return GFLOP/s and, where there is a ceiling, what share of it this is."""
    if row.case not in work or not row.seconds:
        return ""
    rate = work[row.case] / statistics.median(row.seconds)
    dtype = "bfloat16" if row.case.endswith("bfloat16") else "float32"
    share = f" ({rate / most[dtype]:.0%})" if dtype in most else ""
    return f"{tables.number(rate)}{share}"


def ceilings(about: Mapping[str, Any]) -> dict[str, float]:
    """Return the highest GFLOP/s of matrix products on a device, for each dtype."""
    file = results.path(ceiling.SUITE.name, about)
    most: dict[str, float] = {}
    for row in results.read(file)[1] if file.exists() else ():
        if row.seconds:
            _, dtype = ceiling.parse(row.case)
            most[dtype] = max(most.get(dtype, 0.0), ceiling.gflops(row))
    return most
