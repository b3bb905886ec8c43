"""The writing side of a series of checkpoints: one after the other, old ones removed."""

import math
import re
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from fnn import checks
from fnn.checkpoint.errors import CorruptedError
from fnn.checkpoint.files import encode_metadata, metadata, write
from fnn.checkpoint.leaves import Snapshot, take_snapshot
from fnn.types import PyTree

Best: TypeAlias = tuple[str, Literal["min", "max"]]
"""The name of a metric, and whether its least or its greatest value is the best."""

NAME = re.compile(r"(\d{6,})_step_(\d+)\.safetensors")


class File(NamedTuple):
    """A checkpoint of a series: the number of those before it, its step, and its path."""

    serial: int
    step: int
    path: Path


class Writer:
    """Write checkpoints of a run; `Checkpointer.open` makes one."""

    def __init__(
        self,
        folder: Path,
        keep: int | None,
        every: int,
        best: Best | None,
        executor: Executor | None,
    ) -> None:
        self._folder, self._keep, self._every = folder, keep, every
        self._best, self._executor = best, executor
        self._scores: dict[File, float] = {}
        self._pending: Future[None] | None = None
        files = files_in(folder)
        self._last = files[-1].step if files else 0
        self._serial = files[-1].serial + 1 if files else 0

    def due(self, step: int) -> bool:
        """Return whether a multiple of `every` was reached since the newest checkpoint."""
        return due(step, self._every, self._last)

    def save(
        self,
        step: int,
        tree: PyTree,
        *,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint, and remove those that are not kept any more.

        It first waits until the one before it is written.

        Args:
            step: The step of the checkpoint.
            tree: As in `fnn.checkpoint.save`.
            metrics: Numbers by name. A checkpoint without the metric of `best` is never
                the best.
            metadata: As in `fnn.checkpoint.save`; `step` and `metrics` are reserved.

        Raises:
            TypeError: As in `fnn.checkpoint.save`.
            ValueError: As in `fnn.checkpoint.save`, if the step is not an integer of at
                least 0, or if there are metrics, but not the one of `best`.
            Exception: The error from writing the previous checkpoint in the background.
        """
        texts = self._metadata(step, metrics or {}, metadata or {})
        self.wait()
        snapshot = take_snapshot(tree, copy=self._executor is not None)
        path = self._folder / f"{self._serial:06d}_step_{step}.safetensors"
        file = File(self._serial, step, path)
        self._serial, self._last = self._serial + 1, step
        if self._executor is None:
            self._write(file, snapshot, texts)
        else:
            self._pending = self._executor.submit(self._write, file, snapshot, texts)

    def wait(self) -> None:
        """Wait for pending writes; raise their error."""
        if failure := self.failure():
            raise failure

    def failure(self) -> BaseException | None:
        """Wait for pending writes; return their error, once."""
        pending, self._pending = self._pending, None
        return None if pending is None else pending.exception()

    def _metadata(
        self, step: int, metrics: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> dict[str, str]:
        if step != 0:
            checks.positive_integer("step", step)
        check_ranked(self._best, metrics)
        if reserved := {"step", "metrics"} & set(metadata):
            raise ValueError(f"the names {sorted(reserved)} in the metadata are reserved")
        numbers = {name: float(value) for name, value in metrics.items()}
        own = {"step": int(step), "metrics": numbers}
        return encode_metadata(own | dict(metadata))

    def _write(self, file: File, snapshot: Snapshot, texts: Mapping[str, str]) -> None:
        write(file.path, snapshot, texts)
        if self._keep is not None:
            self._remove_old(self._keep)

    def _remove_old(self, keep: int) -> None:
        files = files_in(self._folder)
        kept = set(files[-keep:])
        if self._best is not None:
            metric, direction = self._best
            known = self._scores
            self._scores = {f: known.get(f, score(f, metric)) for f in files}
            kept.add(best_of(self._scores, direction) or files[-1])
        for file in files:
            if file not in kept:
                file.path.unlink(missing_ok=True)


def due(step: int, every: int, last: int) -> bool:
    """Return whether a multiple of `every` was reached since the step `last`."""
    return step % every == 0 or step // every > last // every


def check_ranked(best: Best | None, metrics: Mapping[str, Any]) -> None:
    """Raise if there are metrics, but not the one of `best`."""
    if best and metrics and best[0] not in metrics:
        raise ValueError(f"best is by {best[0]!r}, but the metrics are {sorted(metrics)}")


def files_in(folder: Path) -> list[File]:
    """Return the checkpoints of a folder in the order of writing."""
    matches = [(NAME.fullmatch(path.name), path) for path in folder.glob("*_step_*")]
    return sorted(File(int(m[1]), int(m[2]), path) for m, path in matches if m)


def score(file: File, metric: str) -> float:
    """Return the metric of a checkpoint; NaN if it was not measured or can't be read."""
    try:
        return float(metadata(file.path)["metrics"].get(metric, math.nan))
    except CorruptedError:
        return math.nan


def best_of(scores: Mapping[File, float], direction: Literal["min", "max"]) -> File | None:
    """Return the checkpoint with the best score, the first of equals; NaN never wins."""
    known = {file: value for file, value in scores.items() if not math.isnan(value)}
    choose = min if direction == "min" else max
    return choose(known, key=known.__getitem__, default=None)
