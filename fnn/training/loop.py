"""Loops over steps, with their data on the device.

On an accelerator some hundred steps are one compiled loop. On the CPU the number of steps
is an argument of the loop, so that it can last half a second, and the host can hear the
user; and since XLA does not optimize a convolution inside a loop on the CPU, a step that
contains one is called from the host there.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.data.shuffling import permutation
from fnn.metrics.streaming import WeightedMean, nothing
from fnn.platforms import compiled, target
from fnn.training.step import Step, TrainState
from fnn.types import Array, Key, PyTree


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["arrays", "order", "base", "examples"],
    meta_fields=["batch_size", "weighted", "sharding"],
)
@dataclasses.dataclass(frozen=True)
class Dataset:
    """Inputs and targets on the device, all of an epoch's or some batches of them.

    `order` names the rows of the batches, one after the other; without it the arrays are
    batches, (batches, batch_size, ...). The first is batch `base` of the epoch. `examples`
    is how many the epoch has, and `weighted` whether its last batch is filled up, so that
    batches have weights. `sharding` is how batches lie on a mesh.
    """

    arrays: tuple[PyTree, PyTree]
    order: Array | None
    base: int
    examples: int
    batch_size: int
    weighted: bool
    sharding: jax.NamedSharding | None = None


class Carry(NamedTuple):
    """What the loop hands from step to step."""

    train_state: TrainState
    totals: dict[str, WeightedMean]  # of each metric, over the examples of the epoch
    bad_step: Array  # the first of the epoch whose loss was not finite, else -1


Loop: TypeAlias = Callable[[Step, Carry, Dataset, int, int], Carry]
"""Takes so many steps of an epoch, from one on; called `(..., first, steps)`."""


@functools.partial(jax.jit, static_argnames=("examples", "batch_size"))
def shuffled_order(key: Key, epoch: int, examples: int, batch_size: int) -> Array:
    """Return the order of an epoch, filled up to whole batches from its beginning."""
    order = permutation(jax.random.fold_in(key, epoch), examples)
    return jnp.resize(order, (-(-examples // batch_size) * batch_size,))


def take_batch(dataset: Dataset, i: Array) -> tuple[PyTree, ...]:
    """Return the i-th batch of an epoch: `(x, y)`, or `(x, y, weights)`.

    Where the batch size does not divide the number of examples, the last batch is filled
    up with examples that the epoch has had already, and their weights are 0.
    """
    size, number = dataset.batch_size, i - dataset.base
    batch: tuple[PyTree, ...]
    if dataset.order is None:
        batch = jax.tree.map(
            lambda a: jax.lax.dynamic_index_in_dim(a, number, keepdims=False),
            dataset.arrays,
        )
    else:
        rows = jax.lax.dynamic_slice_in_dim(dataset.order, number * size, size)
        batch = jax.tree.map(lambda a: a[rows], dataset.arrays)
    if dataset.weighted:
        batch = *batch, i * size + jnp.arange(size) < dataset.examples
    if dataset.sharding is not None:
        batch = jax.lax.with_sharding_constraint(batch, dataset.sharding)
    return batch


def start(train_state: TrainState, metrics: PyTree) -> Carry:
    """Return the carry before an epoch, given the specs of what a step reports."""
    totals = {name: nothing(spec.shape, spec.dtype) for name, spec in metrics.items()}
    return Carry(train_state, totals, jnp.full((), -1, jnp.int32))


def restart(carry: Carry) -> Carry:
    """Return the carry before the next epoch."""
    return Carry(carry.train_state, *_fresh(carry.totals))


@jax.jit
def _fresh(totals: PyTree) -> tuple[PyTree, Array]:
    return tree.zeros_like(totals), jnp.full((), -1, jnp.int32)


def advance(step: Step, carry: Carry, batch: tuple[PyTree, ...], i: Array) -> Carry:
    """Take the i-th step of an epoch.

    A batch in which no example counts has no loss, which is NaN: that is not trouble.
    """
    train_state, metrics = step(carry.train_state, batch)
    count = examples_of(batch)
    totals = {
        name: total.include(metrics[name], count) for name, total in carry.totals.items()
    }
    bad = (carry.bad_step < 0) & ~jnp.isfinite(metrics["loss"])
    if len(batch) == 3:
        bad &= count != 0
    return Carry(train_state, totals, jnp.where(bad, i, carry.bad_step))


def examples_of(batch: tuple[PyTree, ...]) -> Array:
    """Return how many examples a batch counts as, (), float32."""
    if len(batch) == 3:
        return jnp.sum(batch[2].astype(jnp.float32))
    return jnp.float32(jax.tree.leaves(batch[0])[0].shape[0])


def choose_loop(jaxpr: Any) -> Loop:
    """Return the fastest loop for a step with this jaxpr."""
    if target() != "cpu":
        return whole_loop
    return host_loop if _has_convolution(jaxpr) else compiled_loop


def take_steps(step: Step, carry: Carry, dataset: Dataset, first: int, steps: int) -> Carry:
    """Take so many steps of an epoch, from number `first` on."""

    def body(i: Array, carry: Carry) -> Carry:
        return advance(step, carry, take_batch(dataset, first + i), first + i)

    return jax.lax.fori_loop(0, steps, body, carry)


# A number of steps that is known when compiling spares an accelerator asking the host.
whole_loop = jax.jit(take_steps, static_argnums=(0, 4))
compiled_loop = jax.jit(take_steps, static_argnums=0)
advance_donated = compiled(advance, static_argnums=0, donate_argnums=1)


@functools.partial(compiled, static_argnums=0, donate_argnums=1)
def _take_and_advance(step: Step, carry: Carry, dataset: Dataset, i: Array) -> Carry:
    return advance(step, carry, take_batch(dataset, i), i)


@jax.jit
def copied(carry: Carry) -> Carry:
    """Return a carry whose arrays are all its own."""
    return jax.tree.map(jnp.copy, carry)


def host_loop(step: Step, carry: Carry, dataset: Dataset, first: int, steps: int) -> Carry:
    """Take steps one call at a time."""
    carry = copied(carry)  # because what is donated is used up
    for i in range(first, first + steps):
        carry = _take_and_advance(step, carry, dataset, i)
    return carry


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
