"""A series of checkpoints in a folder: the newest few, and the best."""

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from fnn import checks
from fnn.checkpoint.atomic import remove_leftovers
from fnn.checkpoint.errors import CorruptedError
from fnn.checkpoint.files import decode_metadata, read
from fnn.checkpoint.safetensors import open_reader
from fnn.checkpoint.writer import Best, File, Writer, best_of, files_in, score
from fnn.types import PyTree
from fnn.values import Value


class Restored(NamedTuple):
    """A checkpoint of a series: a tree, its step, metrics and metadata."""

    tree: PyTree
    step: int
    metrics: dict[str, float]
    metadata: dict[str, Any]


class Series(Value):
    """The settings of every checkpointer: where, how many, when, and which is best."""

    folder: str | PathLike[str]
    keep: int | None = 3
    every: int = 1
    best: Best | None = None
    asynchronous: bool = True

    def __post_init__(self) -> None:
        self._set(folder=fspath(self.folder))
        self._set(every=checks.positive_integer("every", self.every))
        if self.keep is not None:
            self._set(keep=checks.positive_integer("keep", self.keep))
        if self.best is not None and not _is_best(self.best):
            raise ValueError(
                f"best must be the name of a metric and 'min' or 'max', such as "
                f"('val_loss', 'min'), got {self.best!r}"
            )


class Checkpointer(Series):
    """Keep the newest checkpoints of a run in a folder, and the best by a metric.

    Each is a file of `fnn.checkpoint.save`. Its name has the number of checkpoints before
    it and its step: `000007_step_1400.safetensors`. The newest is the one written last,
    even if training has gone back to an earlier step.

    A run that is killed at any moment can resume from its folder. One process at a time may
    write to a folder; any process may read.

    Args:
        folder: The folder of the files; it is made if needed.
        keep: Number of newest checkpoints to keep; None keeps all.
        every: Number of steps between checkpoints, for `Writer.due`.
        best: The metric whose best checkpoint is kept too, and whether its `"min"` or its
            `"max"` is best: `("val_accuracy", "max")`.
        asynchronous: Whether files are written in the background. Saving then takes as
            long as a copy to the host's memory, after which the arrays may be donated.

    Raises:
        ValueError: If an argument is invalid.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> checkpointer = fnn.checkpoint.Checkpointer(folder.name, keep=2, every=10)
        >>> weights = {"w": jax.numpy.zeros(2)}
        >>> with checkpointer.open() as writer:
        ...     for step in range(1, 36):
        ...         weights = {"w": weights["w"] + 1}
        ...         if writer.due(step):
        ...             writer.save(step, weights, metadata={"epoch": step // 10})
        >>> checkpointer.steps()
        (20, 30)
        >>> restored = checkpointer.restore(weights)
        >>> restored.tree, restored.metadata
        ({'w': Array([30., 30.], dtype=float32)}, {'epoch': 3})
        >>> folder.cleanup()
    """

    def steps(self) -> tuple[int, ...]:
        """Return the steps of the checkpoints, in the order of writing."""
        return tuple(file.step for file in files_in(Path(self.folder)))

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint, or None without checkpoints."""
        return next(reversed(self.steps()), None)

    def best_step(self) -> int | None:
        """Return the step of the best checkpoint, or None if none has the metric."""
        if self.best is None:
            raise ValueError("best_step needs best=(metric, 'min' or 'max')")
        scores = {file: score(file, self.best[0]) for file in files_in(Path(self.folder))}
        file = best_of(scores, self.best[1])
        return None if file is None else file.step

    def restore(
        self,
        template: PyTree,
        step: int | None = None,
        *,
        expected: Mapping[str, Any] | None = None,
    ) -> Restored:
        """Read the newest intact checkpoint, or the one of a step.

        If the newest is truncated or damaged, the one before it is used, and a
        `RuntimeWarning` says which and why.

        Args:
            template: As in `fnn.checkpoint.load`.
            step: The checkpoint's step; by default the newest one.
            expected: As in `fnn.checkpoint.load`.

        Raises:
            FileNotFoundError: If there are no checkpoints, or none of the step.
            CorruptedError: If none is intact.
            ValueError: If it does not fit the template, or the metadata are not as
                expected.
        """
        files = [f for f in files_in(Path(self.folder)) if step in (None, f.step)]
        if not files:
            what = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise FileNotFoundError(
                f"{self.folder} has {what}; it has those of the steps {self.steps()}"
            )
        reasons: list[str] = []
        for file in reversed(files):
            try:
                restored = _read(file, template, expected or {})
            except CorruptedError as error:
                reasons.append(str(error))
                continue
            for reason in reasons:
                text = f"{reason}; using {file.path.name}, which was written before it"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            return restored
        raise CorruptedError(f"no checkpoint is intact: {'; '.join(reasons)}")

    @contextmanager
    def open(self) -> Iterator[Writer]:
        """Open the folder for writing, until the end of a `with` block.

        At the end it waits for pending writes. An error in the background is raised at the
        next `save`, or here.

        Raises:
            OSError: If the folder can't be made, or nothing can be written into it.
        """
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            remove_leftovers(folder, "*")
        with ThreadPoolExecutor(1, thread_name_prefix="fnn.checkpoint") as executor:
            writer = Writer(
                folder,
                self.keep,
                self.every,
                self.best,
                executor if self.asynchronous else None,
            )
            try:
                yield writer
            except BaseException as error:
                if failure := writer.failure():
                    error.add_note(f"besides, a checkpoint was not written: {failure!r}")
                raise
            writer.wait()


def _is_best(best: Any) -> bool:
    match best:
        case (str(), "min" | "max"):
            return isinstance(best, tuple)
    return False


def _read(file: File, template: PyTree, expected: Mapping[str, Any]) -> Restored:
    with open_reader(file.path, verify=True) as reader:
        tree = read(reader, template, expected=expected)
        metadata = decode_metadata(reader)
    return Restored(tree, metadata.pop("step"), metadata.pop("metrics"), metadata)
