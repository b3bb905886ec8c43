"""The epochs of training, and what happens after each of them and in between."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from fnn import checks
from fnn.optimizers.base import named_rates, skipped
from fnn.sharding.processes import agreed
from fnn.training.early_stopping import EarlyStopping, StoppingState
from fnn.training.history import Callback, EpochEnd, Figures
from fnn.training.loop import Carry, restart
from fnn.training.progress import Display
from fnn.training.running.nonfinite import Trouble, find_trouble
from fnn.training.running.runner import Piece, Runner
from fnn.training.running.sources import Source
from fnn.training.step import TrainState
from fnn.types import Array, GradientTransformation


class Position(NamedTuple):
    """How far training has come: all that is needed to go on from there.

    `step` steps of epoch `epoch` are taken, in `seconds`. `rows` are the figures of the
    epochs before, and `stop` is whether a callback or `EarlyStopping` ended training.
    """

    carry: Carry
    stopping: StoppingState | None
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    rows: tuple[Figures, ...] = ()
    stop: bool = False


class Save(Protocol):
    """Saves a position, if it is time for it or `now` says so."""

    def __call__(self, position: Position, *, now: bool = False) -> None: ...


@dataclasses.dataclass
class Training:
    """Epochs from a position on; `run` changes `position`, and nothing else is changed."""

    position: Position
    source: Source
    runner: Runner
    epochs: int
    validate: Callable[[TrainState], dict[str, Array]]
    early_stopping: EarlyStopping | None
    callbacks: Sequence[Callback]
    display: Display
    save: Save

    def run(self) -> Trouble | None:
        """Train to the end, or until something stops it; return what went wrong."""
        previous = None
        try:
            while self.position.epoch < self.epochs and not self.position.stop:
                epoch, first = self.position.epoch, self.position.step
                before = time.perf_counter() - self.position.seconds
                pieces = self.source.pieces(self.runner, epoch, first, self.position.carry)
                with contextlib.closing(pieces):
                    for piece in pieces:
                        if trouble := find_trouble(self.runner.step, previous, piece):
                            return trouble
                        previous = piece
                        self._advance(piece, time.perf_counter() - before)
                self._finish_epoch(before)
        except KeyboardInterrupt:
            if jax.process_count() > 1:  # the others have not heard it
                raise
            steps = int(self.position.carry.train_state.step)
            self.display.say(f"interrupted: returning what was trained in {steps} steps")
            self.save(self.position, now=True)
        return None

    def _advance(self, piece: Piece, seconds: float) -> None:
        self.position = self.position._replace(
            carry=piece.after, step=piece.last, seconds=seconds
        )
        figures = jax.device_get(_means(piece.after))
        self.display.advance(self.position.epoch, piece.last, figures)
        self.save(self.position)

    def _finish_epoch(self, before: float) -> None:
        """Evaluate, report, and go to the next epoch."""
        carry, stopping, epoch = self.position[:3]
        row = self._row(carry) | {"seconds": time.perf_counter() - before}
        train_state = carry.train_state
        stop = False
        if self.early_stopping is not None and stopping is not None:
            value = row[self.early_stopping.metric]
            stopping = self.early_stopping.update(stopping, value, train_state[:2])
            stop = bool(stopping.stop)
        end = EpochEnd(epoch, int(train_state.step), dict(row), *train_state[:2])
        stops = [checks.is_true(callback(end)) for callback in self.callbacks]
        # Only now: an interrupt before it leaves the end of the epoch to come again.
        self.position = Position(
            restart(carry),
            stopping,
            epoch + 1,
            rows=(*self.position.rows, row),
            stop=stop or agreed(any(stops)),
        )
        self.display.epoch(epoch, row, float(carry.totals["loss"].weight[0]))
        self.save(self.position)

    def _row(self, carry: Carry) -> Figures:
        """Return the figures of an epoch; only here the host waits for evaluation."""
        figures = _means(carry) | self.validate(carry.train_state)
        # JAX has sorted the names; the losses are what one looks at first.
        names = sorted(figures, key=lambda n: (n.startswith("val_"), "loss" not in n))
        values = jax.device_get(figures)
        row = {name: float(values[name]) for name in names}
        optimizer = self.runner.step.optimizer
        held = optimizer_figures(optimizer, carry.train_state.opt_state)
        row |= {name: value.item() for name, value in held.items()}
        return row


def means(carry: Carry) -> dict[str, Array]:
    """Return the mean of each metric over the examples so far."""
    return {name: total.result() for name, total in carry.totals.items()}


_means = jax.jit(means)


def optimizer_figures(
    optimizer: GradientTransformation, opt_state: Any
) -> dict[str, Array]:
    """Return what an optimizer's state holds that a history shows.

    That is `"learning_rate"`, or of an optimizer with several rates one for each of them,
    such as `"learning_rate[head/*]"`, and of `DynamicLossScale` `"skipped"`.
    """
    rates = named_rates(optimizer, opt_state)
    held = {f"learning_rate{name}": rate for name, rate in rates.items()}
    count = skipped(optimizer, opt_state)
    return held if count is None else held | {"skipped": count}
