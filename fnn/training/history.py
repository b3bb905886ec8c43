"""The history of training, the end of each epoch, and callbacks that write it down."""

import csv
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fnn.optimizers.base import named_rates, skipped
from fnn.sharding.processes import is_first
from fnn.types import Array, GradientTransformation, NDArray, Params, State
from fnn.values import Value

History: TypeAlias = dict[str, NDArray]
Figures: TypeAlias = dict[str, float]


class EpochEnd(NamedTuple):
    """An epoch as a callback sees it: its number, from 0, and its results.

    `figures` is the epoch's row of the history, `step` the number of steps since training
    began. Arrays can't be changed, so a callback influences training only by what it
    returns.
    """

    epoch: int
    step: int
    figures: Figures
    params: Params
    state: State


Callback: TypeAlias = Callable[[EpochEnd], bool | None]
"""Called after every epoch; training stops if one returns True."""


def save_history(history: Mapping[str, ArrayLike], path: str | Path) -> None:
    """Write a history to a file, a row for each epoch: `.csv`, or `.jsonl` (JSON lines).

    Args:
        history: Columns of equal length, by name, as `fnn.fit` returns them.
        path: A file that ends in `.csv` or `.jsonl`.

    Raises:
        ValueError: If the file's name ends otherwise, or the columns differ in length.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "history.csv")
        >>> fnn.training.save_history({"loss": [2.0, 1.0]}, path)
        >>> print(path.read_text())
        epoch,loss
        0,2.0
        1,1.0
        <BLANKLINE>
    """
    path = _history_file(path)
    columns = {name: np.asarray(column).tolist() for name, column in history.items()}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = {name: len(column) for name, column in columns.items()}
        raise ValueError(f"history must have columns of one length, got {lengths}")
    rows = enumerate(zip(*columns.values(), strict=True))
    table = [{"epoch": i} | dict(zip(columns, row, strict=True)) for i, row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            file.writelines(f"{json.dumps(row)}\n" for row in table)
        else:
            writer = csv.DictWriter(file, ["epoch", *columns], lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def load_history(path: str | Path) -> History:
    """Read what `save_history` or `LogToFile` wrote.

    Raises:
        ValueError: If the file's name ends neither in `.csv` nor in `.jsonl`.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "history.jsonl")
        >>> fnn.training.save_history({"loss": [2.0, 1.0]}, path)
        >>> fnn.training.load_history(path)
        {'loss': array([2., 1.])}
    """
    path = _history_file(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = (
            [json.loads(line) for line in file]
            if path.suffix == ".jsonl"
            else list(csv.DictReader(file))
        )
    last = {int(row.pop("epoch")): row for row in rows}  # an epoch may have come twice
    numbers = [{k: float(value) for k, value in row.items()} for row in last.values()]
    return columns(numbers)


def columns(rows: Sequence[Figures]) -> History:
    """Return a column for every name in the rows, with NaN for a row that lacks it.

    Example:
        >>> columns([{"loss": 2.0}, {"loss": 1.0, "learning_rate": 0.5}])
        {'loss': array([2., 1.]), 'learning_rate': array([nan, 0.5])}
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}


def optimizer_figures(
    optimizer: GradientTransformation, opt_state: Any
) -> dict[str, Array]:
    """Return the figures of a history that come from the state of an optimizer.

    They are `"learning_rate"`, or for an optimizer with several rates one for each, such
    as `"learning_rate[head/*]"`, and `"skipped"` for a `DynamicLossScale`.
    """
    rates = named_rates(optimizer, opt_state)
    held = {f"learning_rate{name}": rate for name, rate in rates.items()}
    count = skipped(optimizer, opt_state)
    return held if count is None else held | {"skipped": count}


class LogToFile(Value):
    """A callback that appends a line of JSON to a file after every epoch.

    Args:
        path: A file that ends in `.jsonl`.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "log.jsonl")
        >>> log = fnn.training.LogToFile(str(path))
        >>> log(fnn.training.EpochEnd(0, 4, {"loss": 0.5}, {}, {}))
        >>> print(path.read_text().strip())
        {"epoch": 0, "step": 4, "loss": 0.5}
    """

    path: str

    def __post_init__(self) -> None:
        self._set(path=str(self.path))
        if not self.path.endswith(".jsonl"):
            raise ValueError(f"path must end in .jsonl, got {self.path!r}")

    def __call__(self, end: EpochEnd) -> None:
        if not is_first():
            return
        row = {"epoch": end.epoch, "step": end.step} | end.figures
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row)}\n")


class TensorBoard(Value):
    """A callback that writes the figures of every epoch for TensorBoard.

    Needs the extra `tensorboard`. Look at it by `tensorboard --logdir FOLDER`.

    Args:
        folder: The folder for the event files.

    Example:
        >>> fnn.training.TensorBoard("runs/first")
        fnn.training.TensorBoard('runs/first')
    """

    folder: str

    def __post_init__(self) -> None:
        self._set(folder=str(self.folder))

    def __call__(self, end: EpochEnd) -> None:
        if not is_first():
            return
        writer = _writer(self.folder)
        for name, value in end.figures.items():
            writer.add_scalar(name, value, end.epoch)
        writer.flush()


@functools.cache
def _writer(folder: str) -> Any:
    """Return the writer of a folder; there is one, as each would write another file."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard needs tensorboardX: pip install 'fnn[tensorboard]'"
        ) from error
    return SummaryWriter(folder)


def _history_file(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"path must end in .csv or .jsonl, got {str(path)!r}")
    return path
