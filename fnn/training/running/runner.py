"""The steps of an epoch, run in pieces, after each of which the host looks at them.

Within a piece, of about half a second, the host only enqueues work. After it, the host
reads the figures, hears Ctrl-C, saves, and finds out whether a loss was not finite.

Several steps on one dataset are run by one of three loops, which `choose_loop` chooses:

    platform     convolution   loop               why
    accelerator  yes or no     fixed_count_loop   the device never asks the host whether to
                                                  go on, as the count is part of the program
    CPU          no            any_count_loop     one program for every count, so that a
                                                  piece can last half a second
    CPU          yes           host_loop          XLA optimizes no convolution inside a loop
                                                  on the CPU: a gradient takes 40 times as
                                                  long there (jax issue 12868)

Batches that a loader made are in no dataset; each is a call from the host.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.metrics.streaming import WeightedMean, nothing
from fnn.platforms import compiled, target
from fnn.training.running.sources import Dataset, Item, Loaded, Stretch, take_batch
from fnn.training.step import Step, TrainState
from fnn.types import Array, Batch, Params, PyTree

SECONDS_PER_PIECE = 0.5
"""How long the user waits at most, after Ctrl-C or for new figures."""
FIRST_PIECE = 16
"""Steps in the first piece, while their time is unknown."""
STEPS_ON_ACCELERATORS = 500
"""Steps in a piece on accelerators, and with several processes, which must run as many."""
BYTES_PER_PIECE = 2**26
"""After this much data a piece ends: `Replay` keeps the batches of the last two pieces."""


class Carry(NamedTuple):
    """The values passed from one step to the next."""

    train_state: TrainState
    totals: dict[str, WeightedMean]  # of each metric, over the examples of the epoch
    bad_batch: Array  # the first batch of the epoch whose loss was not finite, else -1


Loop: TypeAlias = Callable[[Step, Carry, Dataset, int, int], Carry]
"""`(step, carry, dataset, first, count)`: run `count` steps, from batch `first` on."""


def start(train_state: TrainState, metric_specs: PyTree) -> Carry:
    """Return the carry before the first epoch, given the specs of a step's metrics."""
    totals = {name: nothing(spec.shape, spec.dtype) for name, spec in metric_specs.items()}
    return Carry(train_state, totals, jnp.full((), -1, jnp.int32))


def restart(carry: Carry) -> Carry:
    """Return the carry before the next epoch."""
    return Carry(carry.train_state, *_fresh(carry.totals))


@jax.jit
def _fresh(totals: PyTree) -> tuple[PyTree, Array]:
    return tree.zeros_like(totals), jnp.full((), -1, jnp.int32)


def means(carry: Carry) -> dict[str, Array]:
    """Return the mean of each metric over the examples so far."""
    return {name: total.result() for name, total in carry.totals.items()}


def advance(step: Step, carry: Carry, batch: Batch, number: Array) -> Carry:
    """Run one step, with the batch that has this number in the epoch.

    If all weights of the batch are 0, its loss is NaN, and that is not reported as bad.
    """
    train_state, metrics = step(carry.train_state, batch)
    count = count_examples(batch)
    totals = {
        name: total.include(metrics[name], count) for name, total in carry.totals.items()
    }
    bad = (carry.bad_batch < 0) & ~jnp.isfinite(metrics["loss"])
    if len(batch) == 3:
        bad &= count != 0
    return Carry(train_state, totals, jnp.where(bad, number, carry.bad_batch))


def count_examples(batch: Batch) -> Array:
    """Return the number of examples in a batch, or the sum of their weights, ()."""
    if len(batch) == 3:
        return jnp.sum(batch[2].astype(jnp.float32))
    return jnp.float32(jax.tree.leaves(batch[0])[0].shape[0])


def choose_loop(jaxpr: Any) -> Loop:
    """Return the fastest loop for a step with this jaxpr."""
    if target() != "cpu":
        return fixed_count_loop
    return host_loop if _has_convolution(jaxpr) else any_count_loop


def run_steps(step: Step, carry: Carry, dataset: Dataset, first: int, count: int) -> Carry:
    """Run `count` steps of an epoch, from batch `first` on, as one loop of XLA's."""

    def body(i: Array, carry: Carry) -> Carry:
        return advance(step, carry, take_batch(dataset, first + i), first + i)

    return jax.lax.fori_loop(0, count, body, carry)


fixed_count_loop = jax.jit(run_steps, static_argnums=(0, 4))
any_count_loop = jax.jit(run_steps, static_argnums=0)
# Donation lets a step write the new state over the old one. Whoever calls it gives a carry
# that nothing else uses: `copied` makes one.
advance_donated = compiled(advance, static_argnums=0, donate_argnums=1)


@functools.partial(compiled, static_argnums=0, donate_argnums=1)
def _take_and_advance(step: Step, carry: Carry, dataset: Dataset, number: Array) -> Carry:
    return advance(step, carry, take_batch(dataset, number), number)


@jax.jit
def copied(carry: Carry) -> Carry:
    """Return a carry whose arrays are all its own."""
    # `jnp.copy`, as `jit` gives back an argument that it returns as it is, uncopied.
    return jax.tree.map(jnp.copy, carry)


def host_loop(step: Step, carry: Carry, dataset: Dataset, first: int, count: int) -> Carry:
    """Run `count` steps of an epoch, from batch `first` on, one call at a time."""
    carry = copied(carry)  # `Replay` still needs the one that was given
    for number in range(first, first + count):
        carry = _take_and_advance(step, carry, dataset, number)
    return carry


@jax.jit
def all_finite(params: Params) -> Array:
    """Return whether all parameters are finite, ()."""
    return tree.all_finite(params)


class Piece(NamedTuple):
    """Steps of an epoch that were run, for the batches from `first` to before `end`.

    `bad_batch` is the first whose loss was not finite, else -1; `good` is whether there
    is none and the parameters after the piece are finite.
    """

    first: int
    end: int
    after: Carry
    bad_batch: int
    good: bool
    replay: "Replay"


@dataclasses.dataclass(frozen=True)
class Replay:
    """Runs the steps of a piece again, up to one that went wrong.

    The host learns that a loss was not finite once the piece is over. By then the
    parameters that gave that loss are gone, as every step writes over those before it.
    So a piece keeps the carry before it and its batches.

    Attributes:
        runner: Runs the steps.
        before: The carry before the piece.
        items: The source's items, or the parts of them that belong to the piece.
    """

    runner: "Runner"
    before: Carry
    items: tuple[Item, ...]

    def state_before(self, number: int) -> TrainState:
        """Return the train state before the step of a batch of the piece."""
        carry = self.runner.own(self.before, self.items[0])
        for item in self.items:
            if item.first < number:
                carry = self.runner.run_item(item, carry, number)
        return carry.train_state

    def batch(self, number: int) -> Batch:
        """Return the batch with this number, which must be one of the piece."""
        item = next(item for item in self.items if number < item.end)
        if isinstance(item, Loaded):
            return item.content
        return take_batch(item.dataset, jnp.int32(number))


@dataclasses.dataclass
class Runner:
    """Runs the steps of an epoch, piece by piece.

    Attributes:
        step: The step.
        loop: Runs several of them on a dataset.
        pace: The number of steps in the next piece: as many as take half a second. With
            several processes it is fixed, as all must run the same number.
    """

    step: Step
    loop: Loop
    pace: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        alone = jax.process_count() == 1
        self.pace = FIRST_PIECE if alone else STEPS_ON_ACCELERATORS

    def run(self, items: Iterator[Item], carry: Carry) -> Generator[Piece]:
        """Run the steps of all batches that a source yields; yield every piece.

        A piece may hold several items, or a part of one. The host waits at its end alone,
        so that the source reads the next items while the device computes.
        """
        rest: Item | None = None  # of an item that the last piece had no room for
        while True:
            began, before, room, nbytes = time.perf_counter(), carry, self.pace, 0
            held: list[Item] = []
            while room > 0 and nbytes < BYTES_PER_PIECE:
                item = rest or next(items, None)
                if item is None:
                    break
                part, rest = self._split(item, room)
                if not held:
                    carry = self.own(carry, part)
                carry = self.run_item(part, carry, part.end)
                held.append(part)
                room -= part.end - part.first
                nbytes += part.nbytes
            if not held:
                return
            yield self._wait(Replay(self, before, tuple(held)), carry, began)

    def own(self, carry: Carry, item: Item) -> Carry:
        """Return a carry that the steps of an item may use up."""
        return copied(carry) if isinstance(item, Loaded) else carry

    def run_item(self, item: Item, carry: Carry, end: int) -> Carry:
        """Run the steps of an item, up to before batch `end`."""
        if isinstance(item, Loaded):
            return advance_donated(self.step, carry, item.content, item.first)
        count = min(item.end, end) - item.first
        return self.loop(self.step, carry, item.dataset, item.first, count)

    def _split(self, item: Item, room: int) -> tuple[Item, Item | None]:
        """Split an item after `room` steps; return the first part, and the rest."""
        if isinstance(item, Loaded):
            return item, None
        dataset, first, end = item
        if self.loop is not fixed_count_loop:
            middle = min(first + room, end)
        elif end - first < 2 * STEPS_ON_ACCELERATORS:
            # Whatever the room: every count is a program of its own, so there are few.
            middle = end
        else:
            middle = first + STEPS_ON_ACCELERATORS
        rest = Stretch(dataset, middle, end) if middle < end else None
        return Stretch(dataset, first, middle), rest

    def _wait(self, replay: Replay, after: Carry, began: float) -> Piece:
        """Wait for the steps of a piece, and adapt the pace to the time they took."""
        first, end = replay.items[0].first, replay.items[-1].end
        bad_batch = int(jax.block_until_ready(after).bad_batch)
        seconds = time.perf_counter() - began
        if jax.process_count() == 1:
            self.pace = max(1, int((end - first) * SECONDS_PER_PIECE / seconds))
        good = bad_batch < 0 and bool(all_finite(after.train_state.params))
        return Piece(first, end, after, bad_batch, good, replay)


def _has_convolution(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        convolution = equation.primitive.name == "conv_general_dilated"
        # One without spatial axes is a product of matrices.
        if convolution and equation.params["window_strides"]:
            return True
        parts = jax.tree.leaves(list(equation.params.values()))
        inner = (getattr(part, "jaxpr", part) for part in parts)
        if any(_has_convolution(part) for part in inner if hasattr(part, "eqns")):
            return True
    return False
