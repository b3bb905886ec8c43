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
PATIENCE = 0.05  # seconds after which a waiting reader looks whether it is still needed


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Inputs and targets that are read as they are needed, such as memory-mapped files.

    `fnn.fit` and `fnn.evaluate` take it in place of the pair itself, and then put some
    megabytes at a time on the device, which a thread reads ahead. What they compute is
    the same, bit by bit.

    Args:
        x: The inputs: an array, or a pytree of arrays, with a leading axis over the
            examples. Anything with `shape` and `dtype` will do that gives the rows for an
            array of integers: `numpy.memmap`, Zarr's arrays.
        y: The targets, likewise.

    Raises:
        TypeError: If a leaf is not an array of numbers.
        ValueError: If the leaves differ in length, or there is no example.

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
                    f"Streamed takes arrays with shape and dtype that give the rows for an "
                    f"array of integers, got {checks.describe(leaf)}"
                )
        if checks.leading_length({"x": self.x, "y": self.y}, "Streamed") == 0:
            raise ValueError(f"Streamed has no example: x {checks.describe(self.x)}")

    def __len__(self) -> int:
        return int(jax.tree.leaves(self.y)[0].shape[0])

    @property
    def bytes_per_example(self) -> int:
        """The bytes that an example takes."""
        leaves = jax.tree.leaves((self.x, self.y))
        return sum(leaf.dtype.itemsize * math.prod(leaf.shape[1:]) for leaf in leaves)


class Memory:
    """Memory of the host for arrays, used again once nothing refers to them.

    Fresh memory would have to be cleared by the system, page by page, which takes as long
    as to copy into it. On the CPU JAX keeps what begins at a cache line, as pages do, as
    its own, without another copy, and refers to it for as long.

    The system itself gives it, and has it back with the last array. An allocator would
    keep what threads that have ended asked for, and give new threads other memory.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray:
        """Return an array whose values are whatever the memory held."""
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
    """Return inputs and targets of the examples that integers name, on the device.

    Their leading axes are those of `rows`; `put` takes an array to the device.
    """
    x, y = jax.tree.map(lambda leaf: put(_read(leaf, rows, memory)), (data.x, data.y))
    return x, y


@contextlib.contextmanager
def prefetched(items: Iterable[T], ahead: int = 2) -> Iterator[Iterator[T]]:
    """Read an iterable in a thread, some items ahead of who asks for them.

    What the iterable raises is raised where the item is asked for, with its traceback.
    The thread has ended when the context has.

    Args:
        items: What to read, in this order.
        ahead: How many items are read before they are asked for.

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
        except BaseException as error:  # whatever it is, it is for who reads
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
    """Return pages of this process alone, large ones where the system has them."""
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
    # All rows are there; to check that again, NumPy would copy once more.
    return np.take(leaf, rows, 0, out, mode="clip")


def _future(item: T) -> "Future[T]":
    future: Future[T] = Future()
    future.set_result(item)
    return future
