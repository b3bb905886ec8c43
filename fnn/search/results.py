"""Results of a search: a table with a row for each trial."""

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnn import checks
from fnn.tables import rich_table, text_table
from fnn.values import show

SHOWN = 20
"""Number of rows to print."""


@dataclasses.dataclass(frozen=True)
class Results:
    """A row for each trial: its number, its setting, and means over its seeds or folds.

    `deviation` is the standard deviation of the metric over the seeds or folds. `diverged`
    is whether one of them was not finite; such a trial never wins.

    Args:
        rows: The trials, each a dict with a value for each column.
        metric: The column by which trials are ranked.
        grows: Whether a larger metric is better.

    Example:
        >>> rows = [{"rate": 0.1, "val_loss": 2.0}, {"rate": 0.01, "val_loss": 1.0}]
        >>> results = fnn.search.Results(rows, "val_loss")
        >>> results.best["rate"], results.columns["rate"]
        (0.01, [0.1, 0.01])
    """

    rows: Sequence[dict[str, Any]]
    metric: str
    grows: bool = False

    @property
    def best(self) -> dict[str, Any]:
        """The row with the best metric.

        Raises:
            ValueError: If all trials diverged.
        """
        first = next(iter(self.sorted().rows), None)
        if first is None or not math.isfinite(first[self.metric]):
            raise ValueError(f"no trial has a finite {self.metric}: all diverged")
        return first

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The values of all trials by column, as `fnn.plots` takes them."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [row.get(name) for row in self.rows] for name in names}

    def sorted(self, by: str = "", *, descending: bool | None = None) -> "Results":
        """Return the results with their rows sorted by a column, the best first.

        Args:
            by: A column, by default the metric. Values that are not finite come last.
            descending: Whether the largest comes first. By default it does for a metric
                that grows, and for no other column.

        Raises:
            ValueError: If the column does not exist.

        Example:
            >>> rows = [{"loss": 2.0, "accuracy": 0.7}, {"loss": 3.0, "accuracy": 0.9}]
            >>> results = fnn.search.Results(rows, "loss")
            >>> results.sorted("accuracy", descending=True).columns["accuracy"]
            [0.9, 0.7]
        """
        by = by or self.metric
        if self.rows:
            checks.one_of("by", by, tuple(self.columns))
        falls = self.grows and by == self.metric if descending is None else descending

        def place(row: dict[str, Any]) -> tuple[bool, Any]:
            value = row[by]
            if not isinstance(value, int | float):
                return False, show(value)
            return not math.isfinite(value), -value if falls else value

        return dataclasses.replace(self, rows=tuple(sorted(self.rows, key=place)))

    def save(self, path: str | Path) -> None:
        """Write the table to a file that ends in `.csv` or `.jsonl` (JSON lines).

        Values other than numbers, booleans and strings are written as their `repr`.

        Raises:
            ValueError: If the file's name ends otherwise.
        """
        path = _as_path(path)
        rows = [{name: plain(value) for name, value in row.items()} for row in self.rows]
        with path.open("w", newline="", encoding="utf-8") as file:
            if path.suffix == ".jsonl":
                about = {"metric": self.metric, "grows": self.grows}
                file.writelines(f"{json.dumps(row)}\n" for row in [about, *rows])
            else:
                writer = csv.DictWriter(file, list(self.columns), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)

    def __str__(self) -> str:
        """Return the best trials as a table of text."""
        names, *rows = self._cells()
        return text_table(names, rows, numbers=len(names), ruled=False)

    def __rich__(self) -> Any:
        """Return the best trials as a table for the `print` of `rich`."""
        names, *rows = self._cells()
        return rich_table(names, rows, numbers=0)

    def _cells(self) -> Iterator[list[str]]:
        names = list(self.columns)
        yield names
        for row in self.sorted().rows[:SHOWN]:
            yield [_cell(row.get(name)) for name in names]


def load_results(path: str | Path, metric: str = "", *, grows: bool = False) -> Results:
    """Read results that `Results.save` wrote.

    Args:
        path: A file that ends in `.csv` or `.jsonl`.
        metric: The column by which trials are ranked. Only CSV needs it, as it does not
            hold it.
        grows: Whether a larger metric is better; likewise for CSV.

    Raises:
        ValueError: If the file's name ends otherwise, or a CSV file comes without a metric.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "results.csv")
        >>> fnn.search.Results([{"rate": 0.1, "val_loss": 2.0}], "val_loss").save(path)
        >>> fnn.search.load_results(path, "val_loss").rows
        ({'rate': 0.1, 'val_loss': 2.0},)
    """
    path = _as_path(path)
    with path.open(newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            about, *rows = map(json.loads, file)
            return Results(tuple(rows), **about)
        table = list(csv.DictReader(file))
    if not metric:
        raise ValueError(f"metric must be given for {str(path)!r}: CSV does not hold it")
    parsed = [{name: _parsed(text) for name, text in row.items()} for row in table]
    return Results(tuple(parsed), metric, grows)


def plain(value: Any) -> Any:
    """Return the number, boolean or string that JSON holds for a value."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else show(value)


def _parsed(text: str) -> Any:
    """Return the number or boolean that a cell holds, else the text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(plain(value)) if value is not None else ""


def _as_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"path must end in .csv or .jsonl, got {str(path)!r}")
    return path
