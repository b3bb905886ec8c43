"""How far training has come, saved to a folder and restored from it."""

import contextlib
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checkpoint import Checkpointer, Restored, save
from fnn.checkpoint.writer import Writer
from fnn.metrics.streaming import WeightedMean
from fnn.sharding.processes import agreed, gathered, is_first
from fnn.training.early_stopping import StoppingState
from fnn.training.history import Figures
from fnn.training.running.runner import Carry
from fnn.training.step import TrainState
from fnn.types import Array, Key, PyTree
from fnn.values import show

LAST_GOOD = "last_good.safetensors"
SECONDS_BETWEEN_SAVES = 30.0


class Position(NamedTuple):
    """How far training has come: all that is needed to go on from there.

    Attributes:
        carry: The carry between two steps.
        stopping: The state of `EarlyStopping`, if there is one.
        epoch: The number of the epoch.
        batch: The number of the next batch in the epoch.
        seconds: The time that the epoch has taken so far.
        rows: The figures of the epochs before.
        stop: Whether a callback or `EarlyStopping` has ended training.
    """

    carry: Carry
    stopping: StoppingState | None
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    rows: tuple[Figures, ...] = ()
    stop: bool = False


class Save(Protocol):
    """Saves a position, if a save is due or `now` is true."""

    def __call__(self, position: Position, *, now: bool = False) -> None: ...


@contextlib.contextmanager
def resumable(
    checkpointer: Checkpointer | None,
    identity: Mapping[str, Any],
    key: Key,
    start: Position,
) -> Iterator[tuple[Position, Save]]:
    """Give the position to resume from, and the function that saves later ones.

    Args:
        checkpointer: The folder; without one, nothing is saved.
        identity: The values that must be the same for training to resume, by name.
        key: The key of training, which must be the same too.
        start: The position from which training begins if none was saved.

    Raises:
        ValueError: If the folder holds another training.
        OSError: If the folder can't be written to.
    """
    if checkpointer is None:
        yield start, _save_nothing
        return
    expected = {name: _text(value) for name, value in identity.items()}
    expected["key"] = str(jax.random.key_data(key))
    with checkpointer.open() if is_first() else contextlib.nullcontext() as writer:
        saver = _Saver(writer, expected)
        if checkpointer.latest() is not None:
            start = _restore(checkpointer, start, expected)
        yield start, saver.save
        saver.warn_of_failure()


def save_good(checkpointer: Checkpointer, train_state: TrainState) -> str:
    """Write parameters and state to a file of their own, and return its path."""
    path = Path(checkpointer.folder) / LAST_GOOD
    good = gathered({"params": train_state.params, "state": train_state.state})
    if is_first():
        save(path, good)
    return str(path)


class _Saver:
    """Saves positions. If one can't be written, training goes on, and tries again later.

    Only process 0 has a writer.
    """

    def __init__(self, writer: Writer | None, expected: Mapping[str, str]) -> None:
        self.writer, self.expected = writer, expected
        self.saved = time.monotonic()

    def save(self, position: Position, *, now: bool = False) -> None:
        """Save a position: now, after an epoch, or half a minute after the last save."""
        step, ended = int(position.carry.train_state.step), position.batch == 0
        late = time.monotonic() - self.saved >= SECONDS_BETWEEN_SAVES
        due = self.writer is not None and self.writer.due(step) and (ended or late)
        if not agreed(now or due):
            return
        arrays = gathered(_arrays(position))
        if self.writer is None:
            return
        self.warn_of_failure()
        metrics = position.rows[-1] if ended and position.rows else {}
        metadata = {**self.expected, **_plain(position)}
        try:
            self.writer.save(step, arrays, metrics=metrics, metadata=metadata)
        except OSError as error:
            _warn(error)
        self.saved = time.monotonic()

    def warn_of_failure(self) -> None:
        """Wait for the save in the background, and warn if it failed."""
        failure = None if self.writer is None else self.writer.failure()
        if isinstance(failure, OSError):
            _warn(failure)
        elif failure is not None:
            raise failure


def _save_nothing(position: Position, *, now: bool = False) -> None:
    """Do nothing: checkpoints need a folder."""


class _SavedCarry(NamedTuple):
    """The carry under the names that it has in a file."""

    train_state: TrainState
    totals: dict[str, WeightedMean]
    bad_step: Array


class _EarlierCarry(NamedTuple):
    """The carry as it was saved before sums had a second part for rounding errors."""

    train_state: TrainState
    totals: dict[str, Any]
    examples: Any
    bad_step: Array


def _arrays(position: Position) -> PyTree:
    stopping = position.stopping if position.stopping is not None else {}
    return {"carry": _SavedCarry(*position.carry), "stopping": stopping}


def _plain(position: Position) -> dict[str, Any]:
    return {
        "epoch": position.epoch,
        "epoch_step": position.batch,
        "seconds": position.seconds,
        "rows": position.rows,
        "stop": position.stop,
    }


def _restore(
    checkpointer: Checkpointer, start: Position, expected: Mapping[str, str]
) -> Position:
    try:
        restored = _read(checkpointer, start, expected)
    except ValueError as error:
        error.add_note(
            f"fit goes on with the training that {checkpointer.folder!r} holds; give "
            f"another folder for another one"
        )
        raise
    plain = restored.metadata
    return Position(
        Carry(*restored.tree["carry"]),
        restored.tree["stopping"] or None,
        plain["epoch"],
        plain["epoch_step"],
        plain["seconds"],
        tuple(plain["rows"]),
        plain["stop"],
    )


def _read(
    checkpointer: Checkpointer, start: Position, expected: Mapping[str, str]
) -> Restored:
    template = _arrays(start)
    try:
        return checkpointer.restore(template, expected=expected)
    except ValueError as error:
        train_state, totals, bad_step = start.carry
        # A NumPy scalar in the template takes any narrower dtype from the file.
        sums = {
            name: np.zeros((), mean.total[0].dtype)[()] for name, mean in totals.items()
        }
        earlier = _EarlierCarry(train_state, sums, np.float32(0), bad_step)
        try:
            restored = checkpointer.restore(
                template | {"carry": earlier}, expected=expected
            )
        except ValueError:
            raise error from None
    old = restored.tree["carry"]
    means = {
        name: _summed(mean, old.totals[name], old.examples) for name, mean in totals.items()
    }
    carry = Carry(old.train_state, means, old.bad_step)
    return restored._replace(tree=restored.tree | {"carry": carry})


def _summed(nothing: WeightedMean, total: Any, weight: Any) -> WeightedMean:
    """Return the mean with these sums, in the dtypes of a mean of nothing."""
    dtype = nothing.total[0].dtype
    return WeightedMean(
        (jnp.asarray(total, dtype), nothing.total[1]),
        (jnp.asarray(weight, dtype), nothing.weight[1]),
    )


def _text(value: Any) -> str:
    """Return a text for a value that is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", show(value))


def _warn(error: OSError) -> None:
    text = f"a checkpoint was not written: {error}; training goes on, and tries again later"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
