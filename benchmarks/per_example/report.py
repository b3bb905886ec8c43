"""The figures as text: lines to print, and a section of `benchmarks/README.md`."""

import datetime
import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.per_example.networks import DENSE, NETWORKS

README = Path(__file__).parent.parent / "README.md"
TITLE = "## Per-example gradients"
ALIKE = ("jax", "torch", "opacus", "jax_privacy")


class Row(NamedTuple):
    """What was measured of one rival: time, ratios of time and memory, compilation."""

    name: str
    milliseconds: float | None = None
    ratio: float | None = None
    memory: tuple[float, float] | None = None  # MiB, and that of the ordinary gradient
    compile_seconds: float | None = None
    note: str = ""


def line(row: Row) -> str:
    """Return the line to print."""
    if row.ratio is None:
        return f"{row.name:28} {row.note}"
    text = f"{row.name:28} {row.milliseconds:8.2f} ms  {row.ratio:6.2f} of ordinary"
    if row.memory is not None:
        own, base = row.memory
        text += (
            f"  {own:7.1f} MiB, {own / base:6.2f}  compiled in {row.compile_seconds:.1f} s"
        )
    return text


def section(tables: Mapping[str, Sequence[Row]], rounds: int) -> str:
    """Return the section that the figures make."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ALIKE)
    lines = [
        TITLE,
        "",
        f"`python -m benchmarks.per_example --write`, {datetime.date.today()}, "
        f"{os.cpu_count()} CPU cores, {versions}, float32, {rounds} rounds.",
        "",
        "Milliseconds, and in brackets the ratio to the ordinary gradient of the same "
        "library, which is compiled and measured in the same run. `norms` and `clipped` "
        "are fnn's; the goal is 1.10 for dense networks (*) and 1.25 for others.",
        "",
        "| network | " + " | ".join(row.name for row in next(iter(tables.values()))) + " |",
    ]
    lines.append("|---" * lines[-1].count(" | ") + "|---|")
    lines += [_cells(name, rows) for name, rows in tables.items()]
    lines += ["", "Temporary memory in MiB, and seconds to compile:", ""]
    measured = [row.name for row in next(iter(tables.values())) if row.memory is not None]
    lines += [
        "| network | " + " | ".join(measured) + " |",
        "|---" * len(measured) + "|---|",
    ]
    for name, rows in tables.items():
        cells = [
            f"{row.memory[0]:.1f} ({row.memory[0] / row.memory[1]:.2f}), "
            f"{row.compile_seconds:.1f} s"
            for row in rows
            if row.memory is not None
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(tables: Mapping[str, Sequence[Row]], rounds: int) -> None:
    """Put the section into the README in place of the one that is there."""
    text = README.read_text() if README.exists() else "# Benchmarks\n"
    others = re.sub(rf"\n*{TITLE}\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL)
    README.write_text(others.rstrip("\n") + "\n\n" + section(tables, rounds))


def _cells(name: str, rows: Sequence[Row]) -> str:
    cells = [
        row.note if row.ratio is None else f"{row.milliseconds:.2f} ({row.ratio:.2f})"
        for row in rows
    ]
    star = "\\*" if name in DENSE else ""
    about = (NETWORKS[name].__doc__ or "").removesuffix(".")
    return f"| {name}{star}: {about} | " + " | ".join(cells) + " |"
