"""An epoch as pieces, after each of which the host looks at how training goes."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.training.loop import Carry, Dataset, Loop, batch_loop, take_batch, whole_loop
from fnn.training.step import Step, TrainState
from fnn.types import Array, Batch, Key

SECONDS_PER_PIECE = 0.5
FIRST_PIECE = 16
STEPS_ON_ACCELERATORS = 500
BYTES_PER_PIECE = 2**28  # of batches, which are kept until their losses are known


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


@dataclasses.dataclass
class Runner:
    """What takes the steps: the step, its loop, and how many make a piece.

    On the CPU that is as many as take half a second; but several processes must take
    equally many.
    """

    step: Step
    loop: Loop
    order_key: Key
    pace: int = dataclasses.field(default_factory=lambda: FIRST_PIECE)

    def through_dataset(
        self, dataset: Dataset, order: Array, first: int, last: int, base: int, carry: Carry
    ) -> Generator[Piece]:
        """Take the steps of an epoch whose step `base` takes the first batch of `order`."""
        while first < last:
            steps = self._steps(last - first)
            piece = self._of_dataset(dataset, order, first, steps, base, carry)
            yield piece
            first, carry = piece.last, piece.after

    def through_batches(
        self, batches: Iterator[Batch], first: int, carry: Carry
    ) -> Generator[Piece]:
        """Take a step for each batch that comes, the first being number `first`."""
        while held := _group(batches, self.pace):
            piece = self._of_batches(held, first, carry)
            yield piece
            first, carry = piece.last, piece.after

    def _of_dataset(
        self,
        dataset: Dataset,
        order: Array,
        first: int,
        steps: int,
        base: int,
        carry: Carry,
    ) -> Piece:
        def taken(count: int) -> Carry:
            return self.loop(self.step, carry, dataset, order, first - base, count)

        def batch(i: int) -> Batch:
            return take_batch(dataset, order, jnp.int32(i - base))

        return self._piece(taken, batch, first, steps, carry, base)

    def _of_batches(self, held: Sequence[Batch], first: int, carry: Carry) -> Piece:
        def taken(count: int) -> Carry:
            return batch_loop(self.step, carry, held[:count])

        def batch(i: int) -> Batch:
            return held[i - first]

        return self._piece(taken, batch, first, len(held), carry, first)

    def _steps(self, left: int) -> int:
        """Return the steps of a piece: on accelerators, of few different lengths."""
        if self.loop is not whole_loop:
            return min(self.pace, left)
        return left if left < 2 * STEPS_ON_ACCELERATORS else STEPS_ON_ACCELERATORS

    def _piece(
        self,
        taken: Callable[[int], Carry],
        batch: Callable[[int], Batch],
        first: int,
        steps: int,
        before: Carry,
        base: int,
    ) -> Piece:
        """Take the steps, wait for them, and adapt the pace to the time they took."""
        began = time.perf_counter()
        after = jax.block_until_ready(taken(steps))
        seconds = time.perf_counter() - began
        if jax.process_count() == 1:
            self.pace = max(1, int(steps * SECONDS_PER_PIECE / seconds))
        bad = int(after.bad_step)
        bad = bad if bad < 0 else base + bad

        def rerun(i: int) -> TrainState:
            return taken(i - first).train_state

        return Piece(first, before, first + steps, after, bad, rerun, batch)


def _group(batches: Iterator[Batch], most: int) -> list[Batch]:
    """Return the next batches: at most so many, and not many bytes, but at least one."""
    group: list[Batch] = []
    nbytes = 0
    for batch in itertools.islice(batches, most):
        group.append(batch)
        nbytes += tree.nbytes(batch)
        if nbytes >= BYTES_PER_PIECE:
            break
    return group
