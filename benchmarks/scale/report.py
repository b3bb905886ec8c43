"""The use of a chip by compiled steps, as a file and as tables of the README."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, tables

# One v5e chip, by Google's figures: bfloat16, and all four links together.
PEAK, BANDWIDTH, LINKS = 197e12, 819e9, 200e9
KEY = ("topology", "network", "strategy", "step")


@dataclasses.dataclass
class Row:
    """A compiled step, and what it takes of one chip: bytes, FLOPs, bytes sent."""

    topology: str
    network: str
    strategy: str
    step: str
    chips: int
    batch_per_chip: int
    weights: int
    memory: int
    flops: float
    traffic: float
    collectives: dict[str, int]
    sent: float
    compile_seconds: float

    @property
    def seconds(self) -> tuple[float, float, float]:
        """Times of arithmetic, memory traffic and communication, at the peaks."""
        return self.flops / PEAK, self.traffic / BANDWIDTH, self.sent / LINKS

    @property
    def efficiency(self) -> tuple[float, float]:
        """Time on one chip, by time on all: without, and with communication hidden."""
        arithmetic, traffic, sending = self.seconds
        alone = max(arithmetic, traffic)
        return alone / (alone + sending), alone / max(alone, sending)


def file() -> Path:
    """Return where the results are."""
    return results.FOLDER / "scale.v5e.json"


def read() -> tuple[dict[str, Any], list[Row]]:
    """Return what compiled, and the rows."""
    if not file().exists():
        return {}, []
    content = json.loads(file().read_text(encoding="utf-8"))
    return content["compiler"], [Row(**row) for row in content["rows"]]


def write(compiler: Mapping[str, Any], row: Row) -> None:
    """Add a row, in place of one of the same step."""
    others = [r for r in read()[1] if key(r) != key(row)]
    rows = sorted([*others, row], key=order)
    lines = ",\n".join(json.dumps(dataclasses.asdict(r)) for r in rows)
    file().parent.mkdir(exist_ok=True)
    file().write_text(
        f'{{"compiler": {json.dumps(compiler)}, "rows": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    put()


def order(row: Row) -> tuple[Any, ...]:
    """Return by what rows are sorted."""
    return row.network, row.step == "clipped", row.chips, row.strategy


def key(row: Row) -> tuple[str, ...]:
    """Return what tells a step from others."""
    return tuple(getattr(row, name) for name in KEY)


def put() -> None:
    """Put the tables into the README."""
    tables.put("scale", lines(*read()), tables.README)


def lines(compiler: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return the tables: what a chip needs, and the scaling that follows from it."""
    if not rows:
        return []
    about = ", ".join(f"{name} {value}" for name, value in compiler.items())
    needs, scaling = [], []
    for row in rows:
        what = [row.network, row.step, row.strategy, str(row.chips)]
        counts = ", ".join(f"{count} {kind}" for kind, count in row.collectives.items())
        sizes = row.memory / 2**30, row.flops / 1e12, row.traffic / 1e9, row.sent / 2**20
        numbers = [tables.number(value) for value in sizes]
        needs.append([*what, *numbers, counts])
        times = [tables.number(1e3 * value) for value in row.seconds]
        scaling.append([*what, *times, *(f"{100 * e:.0f} %" for e in row.efficiency)])
    what = ["network", "step", "parameters", "chips"]
    takes = ["GiB", "TFLOP", "GB of traffic", "MiB sent", "collectives"]
    bounds = ["arithmetic, ms", "traffic, ms", "communication, ms"]
    shares = ["efficiency, nothing hidden", "all hidden"]
    return [
        f"Compiled by {about}; what one chip needs for a step:",
        "",
        *tables.table([*what, *takes], needs),
        "",
        "The times that follow, and the time of one chip by that of all:",
        "",
        *tables.table([*what, *bounds, *shares], scaling),
        "",
    ]
