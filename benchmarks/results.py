"""Results, a file for each suite and device: every sample, and what it was measured on."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite import Row

FOLDER = Path(__file__).parent / "results"
LIBRARIES = (
    "backpack-for-pytorch", "dm-haiku", "equinox", "flax", "jax", "jax-privacy", "jaxlib",
    "keras", "numpy", "opacus", "optax", "orbax-checkpoint", "torch",
)  # fmt: skip


def machine(device: Mapping[str, str]) -> dict[str, Any]:
    """Return what is measured on, given what JAX says of the device."""
    on_cpu = device["platform"] == "cpu"
    return {
        "device": processor() if on_cpu else device["kind"],
        "platform": device["platform"],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: v for name in LIBRARIES if (v := version(name))},
    }


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1].strip() if found else platform.processor() or platform.machine()


def version(name: str) -> str | None:
    """Return the version of a distribution, or None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def path(suite: str, about: Mapping[str, Any]) -> Path:
    """Return the file of a suite on a device."""
    name = "cpu" if about["platform"] == "cpu" else about["device"]
    slug = re.sub(r"[^a-z0-9]+", "-", f"{name}-{about['cores']}-cores".lower())
    return FOLDER / f"{suite}.{slug}.json"


def read(file: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return what the results of a file were measured on, and the rows."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return content["machine"], [Row(**row) for row in content["rows"]]


def write(file: Path, about: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Write rows; those of other cases that are there already stay, with their dates."""
    rows = list(rows)
    measured = {row.case for row in rows}
    before = read(file)[1] if file.exists() else []
    kept = [row for row in before if row.case not in measured]
    lines = [json.dumps(dataclasses.asdict(row), ensure_ascii=False) for row in kept + rows]
    head = json.dumps(dict(about), ensure_ascii=False)
    body = ",\n".join(lines)
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'{{"machine": {head}, "rows": [\n{body}\n]}}\n', encoding="utf-8")


def files(suite: str) -> list[Path]:
    """Return the files of a suite, one for each device."""
    return sorted(FOLDER.glob(f"{suite}.*.json"))
