"""Tables of `benchmarks/README.md`, made of the files of results and of nothing else."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.suite import Row, Suite

README = Path(__file__).parent / "README.md"
PROJECT = README.parents[1] / "README.md"
SCALE = {"s": 1.0, "ms": 1e3, "µs": 1e6}


def ratio(row: Row, first: Row) -> float:
    """Return the median over rounds of a rival's time, as a multiple of the first's."""
    beside = dict(zip(first.rounds, first.seconds, strict=True))
    pairs = zip(row.rounds, row.seconds, strict=True)
    return statistics.median(t / beside[index] for index, t in pairs if index in beside)


def spread(seconds: Sequence[float]) -> float:
    """Return half the distance between the quartiles."""
    if len(seconds) < 2:
        return 0.0
    quarters = statistics.quantiles(seconds, n=4, method="inclusive")
    return (quarters[2] - quarters[0]) / 2


def number(value: float) -> str:
    """Return three digits, or the integer."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def time_cell(row: Row, first: Row, unit: str) -> str:
    """Return the median, the spread and, but for the first, the ratio to the first."""
    if row.refused:
        return row.refused
    median = statistics.median(row.seconds) * SCALE[unit]
    text = f"{number(median)} ± {number(spread(row.seconds) * SCALE[unit])}"
    return text if row is first or first.refused else f"{text} ({ratio(row, first):.2f})"


def figure_cell(row: Row, first: Row, name: str) -> str:
    """Return a figure, and its ratio to that of the first."""
    if name not in row.figures:
        return ""
    base = first.figures.get(name)
    text = number(row.figures[name])
    return text if row is first or not base else f"{text} ({row.figures[name] / base:.2f})"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return ["| " + " | ".join(cells) + " |" for cells in rows]


def section(suite: Suite, about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return the tables of one file of results."""
    rivals = [rival for rival in suite.rivals if any(row.rival == rival for row in rows)]
    cases = [case for case in (*suite.cases, *suite.accelerated) if _of(rows, case)]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    dates = sorted({row.date for row in rows})
    lines = [
        f"{about['device']}, {about['cores']} cores, Python {about['python']}, {versions}; "
        f"{dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}.",
        "",
        f"Time of one {suite.per}, {suite.unit}: median ± half the distance of the "
        f"quartiles, and the median ratio to {bases(suite, rivals)} in the same round.",
        "",
    ]

    def grid(cell: Any, rivals: Sequence[str] = rivals) -> list[str]:
        body = []
        for case in cases:
            beside = _of(rows, case)
            first = beside.get(rivals[0]) or next(iter(beside.values()))
            base = {r: beside.get(suite.bases.get(r, ""), first) for r in rivals}
            cells = [cell(beside[r], base[r]) if r in beside else "" for r in rivals]
            body.append([case, *cells])
        return [*table([suite.title, *rivals], body), ""]

    lines += grid(lambda row, first: time_cell(row, first, suite.unit))
    for name in dict.fromkeys(name for row in rows for name in row.figures):
        having = {row.rival for row in rows if name in row.figures}
        lines += [f"{name[0].upper()}{name[1:]}:", ""]
        lines += grid(
            lambda row, first, name=name: figure_cell(row, first, name),
            [rival for rival in rivals if rival in having],
        )
    if suite.summary is not None:
        ordered = [row for case in cases for row in _of(rows, case).values()]
        lines += [*suite.summary(about, ordered), ""]
    return lines


def bases(suite: Suite, rivals: Sequence[str]) -> str:
    """Return what rivals are compared with, as words."""
    others: dict[str, list[str]] = {}
    for rival in rivals:
        if (base := suite.bases.get(rival, rival)) != rival:
            others.setdefault(base, []).append(rival)
    words = [f"of {', '.join(names)} to {base}" for base, names in others.items()]
    return "; ".join([rivals[0], *words])


def _of(rows: Sequence[Row], case: str) -> dict[str, Row]:
    return {row.rival: row for row in rows if row.case == case}


def write(suite: Suite) -> None:
    """Put the tables of a suite into the README."""
    files = [results.read(file) for file in results.files(suite.name)]
    sections = [section(suite, *file) for file in files] or [["Not measured yet.", ""]]
    put(suite.name, [line for lines in sections for line in lines], README)
    if suite.headline is not None and files:
        put(suite.name, suite.headline(*files[0]), PROJECT)


def put(name: str, lines: Sequence[str], file: Path) -> None:
    """Put lines into a file, between the two comments there that a name has."""
    begin, end = f"<!-- results: {name} -->", "<!-- end of results -->"
    text = file.read_text(encoding="utf-8")
    pattern = rf"{re.escape(begin)}.*?{re.escape(end)}"
    if not re.search(pattern, text, re.DOTALL):
        raise ValueError(f"{file.name} has no place for the results of {name}")
    new = "\n".join([begin, "", *lines, end])
    file.write_text(re.sub(pattern, lambda _: new, text, flags=re.DOTALL), encoding="utf-8")
