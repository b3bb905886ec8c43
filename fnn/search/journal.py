"""The file from which an interrupted search resumes."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnn.checkpoint.atomic import write_atomically
from fnn.values import reads_the_same


class Journal:
    """Finished trials in a file of JSON lines, below a line that describes the search.

    Attributes:
        done: The figures of each finished trial, by rung and trial.
    """

    def __init__(self, path: str | Path | None, described: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.done: dict[tuple[int, int], dict[str, Any]] = {}
        if self.path is None:
            return
        header = json.loads(json.dumps(dict(described)))
        lines = _whole_lines(self.path) if self.path.exists() else []
        if not lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = [header]
        _check_same(self.path, lines[0], header)
        # Write the file again, because the last line may be cut short.
        write_atomically(self.path, (f"{json.dumps(line)}\n".encode() for line in lines))
        self.done = {(line.pop("rung"), line.pop("trial")): line for line in lines[1:]}

    def record(self, rung: int, figures: Mapping[int, dict[str, Any]]) -> None:
        """Write the figures of some trials to the disk."""
        rows = {(rung, trial): dict(row) for trial, row in figures.items()}
        self.done |= rows
        if self.path is None:
            return
        with self.path.open("a", encoding="utf-8") as file:
            for (_, trial), row in rows.items():
                file.write(f"{json.dumps({'rung': rung, 'trial': trial} | row)}\n")
            file.flush()
            os.fsync(file.fileno())


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are complete."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(
            f"checkpoint {str(path)!r} is not a journal of a search"
        ) from error


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    names = [
        name for name in {**old, **new} if not reads_the_same(old.get(name), new.get(name))
    ]
    if names:
        differing = "; ".join(
            f"{name} was {old.get(name)}, is {new.get(name)}" for name in names
        )
        raise ValueError(
            f"checkpoint {str(path)!r} is of another search: {differing}; give another "
            f"file, or remove it to start again"
        )
