"""Where the batches of every epoch come from: arrays, streamed arrays, or a loader."""

import abc
import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.data.shuffling import permutation
from fnn.data.streaming import Memory, Streamed, prefetched, take
from fnn.layers.base import spec
from fnn.sharding import Layout
from fnn.training.placing import (
    as_batch,
    examples_per_chunk,
    first_batch,
    on_device,
    sample_rows,
)
from fnn.types import Array, Batch, Key, NDArray, PyTree


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["arrays", "order", "first", "examples"],
    meta_fields=["batch_size", "weighted", "sharding"],
)
@dataclasses.dataclass(frozen=True)
class Dataset:
    """Inputs and targets on the device: all of an epoch's, or some batches of them.

    Attributes:
        arrays: Inputs and targets. With `order`, their leading axis is over examples;
            without, they are batches, (batches, batch_size, ...).
        order: The rows of `arrays` that make the batches, one batch after the other,
            (batches * batch_size,), or None.
        first: The number of the first batch in its epoch.
        examples: The number of examples in the epoch.
        batch_size: The number of examples in a batch.
        weighted: Whether the last batch of the epoch is filled up, so that batches have
            weights.
        sharding: The sharding of a batch on a mesh.
    """

    arrays: tuple[PyTree, PyTree]
    order: Array | None
    first: int
    examples: int
    batch_size: int
    weighted: bool
    sharding: jax.NamedSharding | None = None


class Stretch(NamedTuple):
    """Batches of an epoch, from number `first` to before `end`, that a dataset holds."""

    dataset: Dataset
    first: int
    end: int

    @property
    def nbytes(self) -> int:
        """The bytes on the device that the dataset keeps."""
        return tree.nbytes(self.dataset.arrays)


class Loaded(NamedTuple):
    """One batch that a loader made, and its number in the epoch."""

    content: Batch
    first: int

    @property
    def end(self) -> int:
        """The number after the batch."""
        return self.first + 1

    @property
    def nbytes(self) -> int:
        """The bytes on the device that the batch takes."""
        return tree.nbytes(self.content)


Item: TypeAlias = Stretch | Loaded
"""An item of a source."""


@functools.partial(jax.jit, static_argnames=("examples", "batch_size"))
def shuffled_order(key: Key, epoch: int, examples: int, batch_size: int) -> Array:
    """Return the order of an epoch, filled up to whole batches from its beginning."""
    order = permutation(jax.random.fold_in(key, epoch), examples)
    return jnp.resize(order, (-(-examples // batch_size) * batch_size,))


def take_batch(dataset: Dataset, number: Array) -> tuple[PyTree, ...]:
    """Return the batch with this number in its epoch: `(x, y)`, or `(x, y, weights)`.

    If the batch size does not divide the number of examples, the last batch is filled up
    with examples that the epoch has had already. Their weights are 0.
    """
    size, position = dataset.batch_size, number - dataset.first
    batch: tuple[PyTree, ...]
    if dataset.order is None:
        batch = jax.tree.map(
            lambda a: jax.lax.dynamic_index_in_dim(a, position, keepdims=False),
            dataset.arrays,
        )
    else:
        rows = jax.lax.dynamic_slice_in_dim(dataset.order, position * size, size)
        batch = jax.tree.map(lambda a: a[rows], dataset.arrays)
    if dataset.weighted:
        batch = *batch, number * size + jnp.arange(size) < dataset.examples
    if dataset.sharding is not None:
        batch = jax.lax.with_sharding_constraint(batch, dataset.sharding)
    return batch


class Source(abc.ABC):
    """Data to train on.

    Attributes:
        batch: The spec of a batch.
        sample: Examples, (x, y), to check the model, the loss and the metrics with.
        rows: The numbers of these examples, if they are not the first of the data.
    """

    batch: PyTree
    sample: tuple[PyTree, PyTree]
    rows: NDArray | None = None

    @property
    @abc.abstractmethod
    def batches(self) -> int | None:
        """The number of batches in an epoch, if it is known."""

    @abc.abstractmethod
    def epoch(self, epoch: int, first: int) -> Generator[Item]:
        """Yield the batches of an epoch from number `first` on."""

    @abc.abstractmethod
    def __repr__(self) -> str:
        """Say what must be the same for training to resume from a checkpoint."""


class Arrays(Source):
    """Examples that are all on the device."""

    def __init__(
        self,
        arrays: tuple[PyTree, PyTree],
        batch_size: Any,
        order_key: Key,
        layout: Layout | None = None,
    ) -> None:
        self.examples = jax.tree.leaves(arrays)[0].shape[0]
        self.batch_size = _checked_size(batch_size, self.examples, layout)
        self.sample, self.order_key, self.layout = arrays, order_key, layout
        dataset = self._in_order(jnp.zeros(self.batch_size, jnp.int32))
        self.batch = jax.eval_shape(take_batch, dataset, 0)

    @property
    def batches(self) -> int:
        return -(-self.examples // self.batch_size)

    def epoch(self, epoch: int, first: int) -> Generator[Stretch]:
        if first < self.batches:
            yield Stretch(self.shuffled(epoch), first, self.batches)

    def shuffled(self, epoch: int | Array) -> Dataset:
        """Return the examples in the order of an epoch."""
        size = self.batch_size
        return self._in_order(shuffled_order(self.order_key, epoch, self.examples, size))

    def _in_order(self, order: Array) -> Dataset:
        size, sharding = self.batch_size, self.layout.batch if self.layout else None
        weighted = self.examples % size != 0
        return Dataset(self.sample, order, 0, self.examples, size, weighted, sharding)

    def __repr__(self) -> str:
        return f"{self.examples} examples in batches of {self.batch_size}"


class Chunks(Source):
    """Examples that are read ahead in chunks, so that few are on the device."""

    def __init__(
        self,
        data: Streamed,
        batch_size: Any,
        order_key: Key,
        layout: Layout | None = None,
    ) -> None:
        self.data, self.order_key, self.layout = data, order_key, layout
        self.batch_size = _checked_size(batch_size, len(data), layout)
        self.rows = sample_rows(data)
        self.sample = take(data, self.rows, Memory())
        self.memory = Memory()
        dataset = self._read(np.zeros((1, self.batch_size), np.int32), 0)
        self.batch = jax.eval_shape(take_batch, dataset, 0)

    @property
    def batches(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def epoch(self, epoch: int, first: int) -> Generator[Stretch]:
        size, end = self.batch_size, self.batches
        order = shuffled_order(self.order_key, epoch, len(self.data), size)
        rows = np.asarray(order).reshape(end, size)
        most = examples_per_chunk(self.data, size) // size
        bounds = [(a, min(a + most, end)) for a in range(first, end, most)]
        stretches = (Stretch(self._read(rows[a:b], a), a, b) for a, b in bounds)
        with prefetched(stretches) as ready:
            yield from ready

    def _read(self, rows: NDArray, first: int) -> Dataset:
        """Read the batches with these rows, (batches, batch_size); the first is `first`."""
        examples, size = len(self.data), self.batch_size
        if self.layout is None:
            arrays, sharding = take(self.data, rows, self.memory), None
        else:
            rows, sharding = rows[:, self.layout.rows_of_process(size)], self.layout.batch
            arrays = take(self.data, rows, self.memory, self.layout.place_batches)
        weighted = examples % size != 0
        return Dataset(arrays, None, first, examples, size, weighted, sharding)

    def __repr__(self) -> str:
        return f"{len(self.data)} examples in batches of {self.batch_size}"


class Loader(Source):
    """Batches that the user's own code makes; one pass is an epoch."""

    def __init__(self, data: Any, epochs: int, layout: Layout | None = None) -> None:
        self.layout = layout
        self.of_epoch = data if callable(data) else lambda _: data
        passes = iter(self.of_epoch(0))
        if passes is data and epochs > 1:
            raise ValueError(
                f"data is an iterator, {checks.describe(data)}, which can be read once; "
                f"for {epochs} epochs give an iterable, or a function of the epoch's number"
            )
        self.length = operator.length_hint(data) or None  # 0 where it is unknown
        first = next(passes, None)
        if first is None:
            raise ValueError(f"data gives no batch: {checks.describe(data)}")
        # The batch that was looked at is trained on as well.
        self.first_pass: Iterator[Any] | None = itertools.chain([first], passes)
        x, y, *_ = first_batch(first)
        self.sample = x, y
        self.batch = spec(self._placed(first))

    @property
    def batches(self) -> int | None:
        return self.length

    def epoch(self, epoch: int, first: int) -> Generator[Loaded]:
        started, self.first_pass = self.first_pass, None
        batches = started if started and epoch == 0 else self.of_epoch(epoch)
        rest = itertools.islice(batches, first, None)
        with prefetched(map(self._checked, itertools.count(first), rest)) as ready:
            yield from ready

    def __repr__(self) -> str:
        return f"batches like {checks.describe(self.batch, math.inf)}"

    def _checked(self, number: int, batch: Any) -> Loaded:
        """Return a batch on the device, whose examples must be like those of the first."""
        converted = self._placed(batch)
        got, wanted = (_of_one_example(b) for b in (converted, self.batch))
        if got != wanted:
            raise ValueError(
                f"batch {number} (from 0) is {checks.describe(converted)}; its examples "
                f"should be like those of the first batch, {checks.describe(self.batch)}"
            )
        return Loaded(converted, number)

    def _placed(self, batch: Any) -> Batch:
        converted = as_batch(batch)
        return converted if self.layout is None else self.layout.place_batch(converted)


def source_of(
    data: Any,
    batch_size: int | None,
    epochs: int,
    order_key: Key,
    layout: Layout | None = None,
) -> Source:
    """Return the source of data in any of the forms that `fit` takes.

    Raises:
        TypeError: If the data has none of these forms.
        ValueError: If it is empty, differs in length or is not finite, or if the batch
            size does not fit it.
    """
    if isinstance(data, tuple | list | dict) or hasattr(data, "shape"):
        return Arrays(on_device(data, "data", layout), batch_size, order_key, layout)
    if isinstance(data, Streamed):
        return Chunks(data, batch_size, order_key, layout)
    iterable = hasattr(data, "__iter__") and not isinstance(data, str | bytes | Path)
    if not (callable(data) or iterable):
        raise TypeError(
            f"data must be a pair (x, y), fnn.data.Streamed(x, y), an iterable of batches, "
            f"or a function from the epoch's number to one; got {checks.describe(data)}"
        )
    if batch_size is not None:
        raise ValueError(
            f"batch_size goes with arrays; {type(data).__name__} makes its own batches, "
            f"got batch_size={batch_size!r}"
        )
    return Loader(data, epochs, layout)


def _of_one_example(batch: Batch) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape[1:], leaf.dtype), batch)


def _checked_size(batch_size: Any, examples: int, layout: Layout | None) -> int:
    size = checks.positive_integer("batch_size", batch_size)
    if size > examples:
        raise ValueError(
            f"batch_size must be at most the number of examples, {examples}, got {size}"
        )
    if layout is not None:
        layout.check_divides(size, "batch_size")
    return size
