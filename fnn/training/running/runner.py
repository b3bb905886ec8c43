"""An epoch as pieces, after each of which the host looks at how training goes."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.training.loop import (
    Carry,
    Dataset,
    Loop,
    advance_donated,
    copied,
    take_batch,
    whole_loop,
)
from fnn.training.step import Step, TrainState
from fnn.types import Batch, Key

SECONDS_PER_PIECE = 0.5
FIRST_PIECE = 16
STEPS_ON_ACCELERATORS = 500
BYTES_PER_PIECE = 2**26  # of batches, which are kept until their losses are known


class Piece(NamedTuple):
    """A stretch of an epoch, from step `first` up to step `last`.

    `bad_step` is the first whose loss was not finite, else -1. `rerun(i)` returns the
    train state before step i of the piece, and `batch(i)` what that step sees.
    """

    first: int
    before: Carry
    last: int
    after: Carry
    bad_step: int
    rerun: Callable[[int], TrainState]
    batch: Callable[[int], Batch]


class Stretch(NamedTuple):
    """The steps of an epoch from `first` up to `last`, whose batches a dataset holds."""

    dataset: Dataset
    first: int
    last: int


@dataclasses.dataclass
class Runner:
    """What takes the steps: the step, its loop, and how many make a piece.

    They are as many as take half a second; accelerators take some hundred at least, and
    several processes must take equally many.
    """

    step: Step
    loop: Loop
    order_key: Key
    pace: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        alone = jax.process_count() == 1
        self.pace = FIRST_PIECE if alone else STEPS_ON_ACCELERATORS

    def through_datasets(
        self, stretches: Iterator[Stretch], carry: Carry
    ) -> Generator[Piece]:
        """Take the steps of stretches, each of which begins where the last one ended.

        The host waits only at the end of a piece, which may hold several stretches, so
        that the next one is read while the device computes.
        """
        stretch = next(stretches, None)
        while stretch is not None:
            began, before, room, nbytes = time.perf_counter(), carry, self.pace, 0
            held: list[Stretch] = []
            while stretch is not None and room > 0 and nbytes < BYTES_PER_PIECE:
                part, stretch = self._split(stretch, room)
                carry = self._take(part, carry, part.last)
                held.append(part)
                nbytes += tree.nbytes(part.dataset.arrays)
                room -= part.last - part.first
                stretch = stretch or next(stretches, None)
            yield self._of_datasets(held, before, carry, began)

    def through_batches(
        self, batches: Iterator[Batch], first: int, carry: Carry
    ) -> Generator[Piece]:
        """Take a step for each batch that comes, the first being number `first`."""
        while True:
            began, before, nbytes = time.perf_counter(), carry, 0
            held: list[Batch] = []
            carry = copied(carry)  # because what is donated is used up
            for batch in itertools.islice(batches, self.pace):
                carry = advance_donated(self.step, carry, batch, first + len(held))
                held.append(batch)
                nbytes += tree.nbytes(batch)
                if nbytes >= BYTES_PER_PIECE:
                    break
            if not held:
                return
            yield self._of_batches(held, first, before, carry, began)
            first += len(held)

    def _split(self, stretch: Stretch, room: int) -> tuple[Stretch, Stretch | None]:
        """Return what of a stretch belongs to a piece with so much room, and the rest."""
        dataset, first, last = stretch
        if self.loop is not whole_loop:
            middle = min(first + room, last)
        elif last - first < 2 * STEPS_ON_ACCELERATORS:  # few different lengths
            middle = last
        else:
            middle = first + STEPS_ON_ACCELERATORS
        rest = Stretch(dataset, middle, last) if middle < last else None
        return Stretch(dataset, first, middle), rest

    def _take(self, part: Stretch, carry: Carry, last: int) -> Carry:
        """Take the steps of a stretch up to a step."""
        steps = min(part.last, last) - part.first
        return self.loop(self.step, carry, part.dataset, part.first, steps)

    def _of_datasets(
        self, held: list[Stretch], before: Carry, after: Carry, began: float
    ) -> Piece:
        def rerun(i: int) -> TrainState:
            carry = before
            for part in held:
                if part.first < i:
                    carry = self._take(part, carry, i)
            return carry.train_state

        def batch(i: int) -> Batch:
            part = next(part for part in held if i < part.last)
            return take_batch(part.dataset, jnp.int32(i))

        first, last = held[0].first, held[-1].last
        return self._piece(first, before, last, after, rerun, batch, began)

    def _of_batches(
        self, held: list[Batch], first: int, before: Carry, after: Carry, began: float
    ) -> Piece:
        def rerun(i: int) -> TrainState:
            carry = copied(before)
            for k in range(first, i):
                carry = advance_donated(self.step, carry, held[k - first], k)
            return carry.train_state

        def batch(i: int) -> Batch:
            return held[i - first]

        last = first + len(held)
        return self._piece(first, before, last, after, rerun, batch, began)

    def _piece(
        self,
        first: int,
        before: Carry,
        last: int,
        after: Carry,
        rerun: Callable[[int], TrainState],
        batch: Callable[[int], Batch],
        began: float,
    ) -> Piece:
        """Wait for the steps, and adapt the pace to the time they took."""
        bad_step = int(jax.block_until_ready(after).bad_step)
        seconds = time.perf_counter() - began
        if jax.process_count() == 1:
            self.pace = max(1, int((last - first) * SECONDS_PER_PIECE / seconds))
        return Piece(first, before, last, after, bad_step, rerun, batch)
