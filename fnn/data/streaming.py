"""Data that stays where it is: read in the background while the device computes."""

import contextlib
import dataclasses
import math
import mmap
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import jax
import numpy as np

from fnn import checks
from fnn.types import Array, NDArray, PyTree

T = TypeVar("T")
PATIENCE = 0.05  # seconds between a waiting reader's checks that it is still needed


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Inputs and targets that are read when needed, such as memory-mapped files.

    `fnn.fit` and `fnn.evaluate` take it in place of the pair. A thread then reads ahead,
    and some megabytes at a time are put on the device. The results are identical, bit for
    bit.

    Args:
        x: The inputs: an array, or a pytree of arrays, with a leading axis over the
            examples. Anything with `shape` and `dtype` will do if it can be indexed by an
            array of integers: `numpy.memmap`, Zarr's arrays.
        y: The targets, likewise.

    Raises:
        TypeError: If a leaf is not an array of numbers.
        ValueError: If the leaves differ in length or are empty.

    Example:
        >>> import numpy, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "x.npy")
        >>> numpy.save(path, numpy.ones((100, 3), "float32"))
        >>> x = numpy.load(path, mmap_mode="r")
        >>> len(fnn.data.Streamed(x, numpy.zeros(100, "float32")))
        100
    """

    x: PyTree
    y: PyTree

    def __post_init__(self) -> None:
        checks.arrays({"x": self.x, "y": self.y}, "Streamed")
        for leaf in jax.tree.leaves((self.x, self.y)):
            if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
                raise TypeError(
                    f"Streamed takes arrays with shape and dtype that can be indexed by an "
                    f"array of integers, got {checks.describe(leaf)}"
                )
        if checks.leading_length({"x": self.x, "y": self.y}, "Streamed") == 0:
            raise ValueError(f"Streamed has no example: x {checks.describe(self.x)}")

    def __len__(self) -> int:
        return int(jax.tree.leaves(self.y)[0].shape[0])

    @property
    def bytes_per_example(self) -> int:
        """Bytes per example."""
        leaves = jax.tree.leaves((self.x, self.y))
        return sum(leaf.dtype.itemsize * math.prod(leaf.shape[1:]) for leaf in leaves)


class Memory:
    """Host memory for arrays, reused when nothing refers to them any more.

    The system would have to clear fresh memory page by page, which takes as long as copying
    into it. On the CPU, JAX uses an array that begins at a cache line, as pages do, without
    a copy, and refers to it while it does.

    The memory comes from the system and returns to it with the last array. An allocator
    would keep the memory of threads that have ended, and give new threads other memory.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray:
        """Return an array with arbitrary values."""
        nbytes = math.prod(shape) * dtype.itemsize
        free = self._free.setdefault(nbytes, [])
        block = free.pop() if free else _fresh(nbytes)
        owner = np.frombuffer(block, np.uint8, nbytes)
        # All views of the owner refer to it; after the last of them the block is free.
        weakref.finalize(owner, free.append, block)
        return owner.view(dtype).reshape(shape)


def take(
    data: Streamed,
    rows: NDArray,
    memory: Memory,
    put: Callable[[NDArray], Array] = jax.device_put,
) -> tuple[PyTree, PyTree]:
    """Return the inputs and targets of the examples `rows`, on the device.

    Their leading axes are those of `rows`; `put` takes an array to the device.
    """
    x, y = jax.tree.map(lambda leaf: put(_read(leaf, rows, memory)), (data.x, data.y))
    return x, y


@contextlib.contextmanager
def prefetched(items: Iterable[T], ahead: int = 2) -> Iterator[Iterator[T]]:
    """Read an iterable in a thread, some items ahead of the consumer.

    An error of the iterable is raised where the item is asked for, with its traceback.
    The thread ends before the context does.

    Args:
        items: The items to read, in this order.
        ahead: Number of items to read before they are asked for.

    Example:
        >>> with fnn.data.prefetched(range(3)) as items:
        ...     list(items)
        [0, 1, 2]
    """
    ahead = checks.positive_integer("ahead", ahead)
    results: queue.Queue[Future[T] | None] = queue.Queue(ahead)
    closed = threading.Event()

    def put(result: "Future[T] | None") -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                results.put(result, timeout=PATIENCE)
                return

    def read() -> None:
        try:
            for item in items:
                put(_future(item))
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:  # any error is re-raised in the consumer
            failed: Future[T] = Future()
            failed.set_exception(error)
            put(failed)

    def received() -> Iterator[T]:
        while (future := results.get()) is not None:
            yield future.result()

    thread = threading.Thread(target=read, name="fnn-prefetch", daemon=True)
    thread.start()
    try:
        yield received()
    finally:
        closed.set()
        thread.join()


def _fresh(nbytes: int) -> mmap.mmap:
    """Return private pages of memory, large ones where the system has them."""
    block = mmap.mmap(-1, max(nbytes, 1), access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without large pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _read(leaf: Any, rows: NDArray, memory: Memory) -> NDArray:
    if not isinstance(leaf, np.ndarray):
        read = np.array(leaf[rows.ravel()])
        return read.reshape(*rows.shape, *leaf.shape[1:])
    out = memory.empty((*rows.shape, *leaf.shape[1:]), leaf.dtype)
    # The rows are known to be valid; with `mode="raise"` NumPy would make another copy.
    return np.take(leaf, rows, 0, out, mode="clip")


def _future(item: T) -> "Future[T]":
    future: Future[T] = Future()
    future.set_result(item)
    return future
