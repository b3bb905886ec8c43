"""Where the batches of every epoch come from: arrays, streamed arrays, or a loader."""

import abc
import itertools
import math
import operator
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.streaming import Memory, Streamed, prefetched, take
from fnn.layers.base import spec
from fnn.sharding import Layout
from fnn.training.loop import Carry, Dataset, shuffled_order, take_batch
from fnn.training.placing import as_batch, first_batch, on_device
from fnn.training.running.runner import Piece, Runner, Stretch
from fnn.training.validation import examples_per_chunk, sample_rows
from fnn.types import Array, Batch, NDArray, PyTree


class Source(abc.ABC):
    """Data to train on.

    `batch` is the spec of a batch; `sample` are examples by which the model, the loss and
    the metrics are checked, and `rows` which they are, where they are not the first.
    """

    batch: PyTree
    sample: tuple[PyTree, PyTree]
    rows: NDArray | None = None

    @property
    @abc.abstractmethod
    def steps(self) -> int | None:
        """The number of batches of an epoch, if it is known."""

    @abc.abstractmethod
    def pieces(
        self, runner: Runner, epoch: int, first: int, carry: Carry
    ) -> Generator[Piece]:
        """Take the steps of an epoch from number `first` on."""

    @abc.abstractmethod
    def __repr__(self) -> str:
        """Say what must be the same for training to go on from a checkpoint."""


class Arrays(Source):
    """Examples that are all on the device."""

    def __init__(
        self, arrays: tuple[PyTree, PyTree], batch_size: Any, layout: Layout | None
    ) -> None:
        self.examples = jax.tree.leaves(arrays)[0].shape[0]
        self.batch_size = _checked_size(batch_size, self.examples, layout)
        self.sample, self.layout = arrays, layout
        dataset = self.in_order(jnp.zeros(self.batch_size, jnp.int32))
        self.batch = jax.eval_shape(take_batch, dataset, 0)

    @property
    def steps(self) -> int:
        return -(-self.examples // self.batch_size)

    def pieces(
        self, runner: Runner, epoch: int, first: int, carry: Carry
    ) -> Generator[Piece]:
        order = shuffled_order(runner.order_key, epoch, self.examples, self.batch_size)
        stretch = Stretch(self.in_order(order), first, self.steps)
        return runner.through_datasets(iter([stretch]), carry)

    def in_order(self, order: Array) -> Dataset:
        """Return the examples in the order of an epoch."""
        size, sharding = self.batch_size, self.layout.batch if self.layout else None
        weighted = self.examples % size != 0
        return Dataset(self.sample, order, 0, self.examples, size, weighted, sharding)

    def __repr__(self) -> str:
        return f"{self.examples} examples in batches of {self.batch_size}"


class Chunks(Source):
    """Examples of which some chunks at a time are on the device, read ahead."""

    def __init__(self, data: Streamed, batch_size: Any, layout: Layout | None) -> None:
        self.data, self.layout = data, layout
        self.batch_size = _checked_size(batch_size, len(data), layout)
        self.rows = sample_rows(data)
        self.sample = take(data, self.rows, Memory())
        self.memory = Memory()
        dataset = self._dataset(np.zeros((1, self.batch_size), np.int32), 0)
        self.batch = jax.eval_shape(take_batch, dataset, 0)

    @property
    def steps(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def pieces(
        self, runner: Runner, epoch: int, first: int, carry: Carry
    ) -> Generator[Piece]:
        size, last = self.batch_size, self.steps
        order = shuffled_order(runner.order_key, epoch, len(self.data), size)
        batches = np.asarray(order).reshape(last, size)
        most = examples_per_chunk(self.data, size) // size
        bounds = [(a, min(a + most, last)) for a in range(first, last, most)]
        stretches = (Stretch(self._dataset(batches[a:b], a), a, b) for a, b in bounds)
        with prefetched(stretches) as ready:
            yield from runner.through_datasets(ready, carry)

    def _dataset(self, rows: NDArray, base: int) -> Dataset:
        """Read some batches, (batches, batch_size), the first being number `base`."""
        examples, size = len(self.data), self.batch_size
        if self.layout is None:
            arrays, sharding = take(self.data, rows, self.memory), None
        else:
            rows, sharding = rows[:, self.layout.rows_of_process(size)], self.layout.batch
            arrays = take(self.data, rows, self.memory, self.layout.place_batches)
        return Dataset(arrays, None, base, examples, size, examples % size != 0, sharding)

    def __repr__(self) -> str:
        return f"{len(self.data)} examples in batches of {self.batch_size}"


class Loader(Source):
    """Batches that the user's own code makes; one pass is an epoch."""

    def __init__(self, data: Any, epochs: int, layout: Layout | None) -> None:
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
        self.first_pass: Iterator[Any] | None = itertools.chain([first], passes)
        x, y, *_ = first_batch(first)
        self.sample = x, y
        self.batch = spec(self._placed(first))

    def pieces(
        self, runner: Runner, epoch: int, first: int, carry: Carry
    ) -> Generator[Piece]:
        started, self.first_pass = self.first_pass, None
        batches = started if started and epoch == 0 else self.of_epoch(epoch)
        rest = itertools.islice(batches, first, None)
        with prefetched(map(self._checked, itertools.count(first), rest)) as ready:
            yield from runner.through_batches(ready, first, carry)

    @property
    def steps(self) -> int | None:
        return self.length

    def __repr__(self) -> str:
        return f"batches like {checks.describe(self.batch, math.inf)}"

    def _checked(self, number: int, batch: Any) -> Batch:
        """Return a batch on the device, whose examples must be like those of the first."""
        converted = self._placed(batch)
        got, wanted = (_of_one_example(b) for b in (converted, self.batch))
        if got != wanted:
            raise ValueError(
                f"batch {number} (from 0) is {checks.describe(converted)}; its examples "
                f"should be like those of the first batch, {checks.describe(self.batch)}"
            )
        return converted

    def _placed(self, batch: Any) -> Batch:
        converted = as_batch(batch)
        return converted if self.layout is None else self.layout.place_batch(converted)


def source_of(
    data: Any, batch_size: int | None, epochs: int, layout: Layout | None = None
) -> Source:
    """Return the source of data in any of the forms that `fit` takes.

    Raises:
        TypeError: If it has none of them.
        ValueError: If it is empty, differs in length or is not finite, or if the batch
            size does not go with it.
    """
    if isinstance(data, tuple | list | dict) or hasattr(data, "shape"):
        return Arrays(on_device(data, "data", layout), batch_size, layout)
    if isinstance(data, Streamed):
        return Chunks(data, batch_size, layout)
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
