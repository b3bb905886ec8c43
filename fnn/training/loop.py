"""Loops over the steps of an epoch, with the data resident on the device.

On an accelerator an epoch is one compiled loop. On the CPU it is a few calls of a compiled
loop whose bounds are arguments, so that the host can hear the user; and since XLA does not
optimize a convolution inside a loop on the CPU, a step that contains one is called from
the host there.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.data.shuffling import permutation
from fnn.training.step import Step, TrainState
from fnn.types import Array, Key, PyTree

SECONDS_PER_PIECE = 0.5
FIRST_PIECE = 16


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["arrays"],
    meta_fields=["examples", "batch_size"],
)
@dataclasses.dataclass(frozen=True)
class Dataset:
    """Inputs and targets on the device, and the number of examples in a batch."""

    arrays: tuple[PyTree, PyTree]
    examples: int
    batch_size: int

    @property
    def steps(self) -> int:
        """The number of batches of an epoch; the last may be partial."""
        return -(-self.examples // self.batch_size)


class Carry(NamedTuple):
    """What the loop hands from step to step."""

    train_state: TrainState
    totals: dict[str, Array]  # each metric, summed over the examples of the epoch
    bad_step: Array  # the first step of the epoch whose loss was not finite, else -1


class Piece(NamedTuple):
    """A stretch of an epoch: the carry before step `first`, and that before `last`."""

    order: Array
    first: int
    before: Carry
    last: int
    after: Carry


Loop: TypeAlias = Callable[[Step, Carry, Dataset, Array, int, int], Carry]
"""Takes the steps from one number up to another of an epoch in a given order."""


@functools.partial(jax.jit, static_argnames=("examples", "batch_size"))
def shuffled_order(key: Key, epoch: int, examples: int, batch_size: int) -> Array:
    """Return the order of an epoch, filled up to whole batches from its beginning."""
    order = permutation(jax.random.fold_in(key, epoch), examples)
    return jnp.resize(order, (-(-examples // batch_size) * batch_size,))


def take_batch(dataset: Dataset, order: Array, i: Array) -> tuple[PyTree, ...]:
    """Return the i-th batch of an order: `(x, y)`, or `(x, y, weights)`.

    Where the batch size does not divide the number of examples, the last batch is filled
    up with examples that the epoch has had already, and their weights are 0.
    """
    size = dataset.batch_size
    rows = jax.lax.dynamic_slice_in_dim(order, i * size, size)
    x, y = jax.tree.map(lambda a: a[rows], dataset.arrays)
    if dataset.examples % size == 0:
        return x, y
    return x, y, i * size + jnp.arange(size) < dataset.examples


def start(train_state: TrainState, metrics: PyTree) -> Carry:
    """Return the carry before an epoch, given the specs of what a step reports."""
    return Carry(train_state, tree.zeros_like(metrics), jnp.full((), -1, jnp.int32))


def advance(step: Step, carry: Carry, dataset: Dataset, order: Array, i: Array) -> Carry:
    """Take the i-th step of an epoch."""
    train_state, metrics = step(carry.train_state, take_batch(dataset, order, i))
    seen = i * dataset.batch_size
    count = jnp.minimum(dataset.examples - seen, dataset.batch_size)
    totals = jax.tree.map(
        lambda total, mean: total + mean * count.astype(mean.dtype),
        carry.totals,
        metrics,
    )
    bad = (carry.bad_step < 0) & ~jnp.isfinite(metrics["loss"])
    return Carry(train_state, totals, jnp.where(bad, i, carry.bad_step))


def choose_loop(jaxpr: Any) -> Loop:
    """Return the fastest loop for a step with this jaxpr."""
    if jax.default_backend() != "cpu":
        return whole_loop
    return host_loop if _has_convolution(jaxpr) else compiled_loop


def compiled_loop(
    step: Step, carry: Carry, dataset: Dataset, order: Array, first: int, last: int
) -> Carry:
    """Take steps in one compiled loop, whose bounds are arguments."""

    def body(i: Array, carry: Carry) -> Carry:
        return advance(step, carry, dataset, order, i)

    return jax.lax.fori_loop(first, last, body, carry)


# A number of steps that is known when compiling spares an accelerator asking the host.
whole_loop = jax.jit(compiled_loop, static_argnums=(0, 4, 5))
compiled_loop = jax.jit(compiled_loop, static_argnums=0)
_advance = jax.jit(advance, static_argnums=0, donate_argnums=1)


def host_loop(
    step: Step, carry: Carry, dataset: Dataset, order: Array, first: int, last: int
) -> Carry:
    """Take steps one call at a time."""
    carry = jax.tree.map(jnp.copy, carry)  # because `_advance` uses up what it gets
    for i in range(first, last):
        carry = _advance(step, carry, dataset, order, i)
    return carry


def run_epoch(
    step: Step, loop: Loop, carry: Carry, dataset: Dataset, order: Array
) -> Iterator[Piece]:
    """Run an epoch in pieces, which on the CPU last about half a second each."""
    if loop is whole_loop:
        after = loop(step, carry, dataset, order, 0, dataset.steps)
        yield Piece(order, 0, carry, dataset.steps, after)
        return
    first, length = 0, FIRST_PIECE
    while first < dataset.steps:
        last = min(first + length, dataset.steps)
        began = time.perf_counter()
        after = jax.block_until_ready(loop(step, carry, dataset, order, first, last))
        seconds = time.perf_counter() - began
        yield Piece(order, first, carry, last, after)
        length = max(1, int((last - first) * SECONDS_PER_PIECE / seconds))
        first, carry = last, after


def last_good(
    step: Step, loop: Loop, dataset: Dataset, previous: Piece | None, piece: Piece
) -> TrainState:
    """Return the train state whose loss was the last to be finite.

    The loss of step k is that of the parameters before it. So if it is not finite, those
    before step k - 1 are the last that are known to be good, and are computed again.
    """
    target = int(piece.after.bad_step) - 1
    if target < piece.first:
        if previous is None:
            return piece.before.train_state
        piece, target = previous, previous.last - 1
    carry = loop(step, piece.before, dataset, piece.order, piece.first, target)
    return carry.train_state


def _has_convolution(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        parts = jax.tree.leaves(list(equation.params.values()))
        inner = (getattr(part, "jaxpr", part) for part in parts)
        if any(_has_convolution(part) for part in inner if hasattr(part, "eqns")):
            return True
    return False
