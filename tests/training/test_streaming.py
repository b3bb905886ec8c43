"""Data that does not fit: streamed arrays, loaders, and the thread that reads ahead."""

import gc
import mmap
import threading
import time
import traceback
import weakref

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import losses, metrics, optimizers
from fnn.data import Streamed, prefetched, streaming
from fnn.data.streaming import Memory
from fnn.training import evaluation, placing
from fnn.training.placing import put_copy

MODEL = fnn.Sequential(fnn.Dense(8), jax.nn.relu, fnn.Dropout(0.2), fnn.Dense(3))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(53, 4)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype("int32")


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    # Those before may end meanwhile, which is not this test's business.
    assert set(threading.enumerate()) <= before


def fit(data, **changes):
    arguments = {"key": jax.random.key(0), "epochs": 3, "progress": False}
    return fnn.fit(
        MODEL,
        losses.softmax_cross_entropy,
        optimizers.Adam(0.01),
        data,
        metrics={"accuracy": metrics.accuracy},
        **(arguments | changes),
    )


def memory_mapped(folder):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return Streamed(*(np.load(folder / f"{n}.npy", mmap_mode="r") for n in "xy"))


@pytest.mark.parametrize("batch_size", [7, 16, 53])
def test_streamed_arrays_train_to_the_same_bits(tmp_path, monkeypatch, batch_size):
    """Whatever the size of a chunk: here some hold one batch, some several."""
    resident = fit((X, Y), batch_size=batch_size, validation=(X, Y))
    monkeypatch.setattr(placing, "BYTES_PER_CHUNK", 400)
    data = memory_mapped(tmp_path)
    streamed = fit(data, batch_size=batch_size, validation=data)
    chex.assert_trees_all_equal(streamed.params, resident.params)
    for name in ("loss", "accuracy"):
        np.testing.assert_array_equal(streamed.history[name], resident.history[name])
        validated = [r.history[f"val_{name}"] for r in (streamed, resident)]
        np.testing.assert_allclose(*validated, rtol=1e-6)


def own_loop(epochs):
    """Return parameters after the same batches, by a loop of one's own."""
    init_key, _, step_key = jax.random.split(jax.random.key(0), 3)
    params, state = jax.jit(MODEL.init)(init_key, X[0])
    adam = optimizers.Adam(0.01)
    train_state = fnn.TrainState.create(params, state, adam, key=step_key)
    step = jax.jit(fnn.make_step(fnn.supervised(MODEL, losses.softmax_cross_entropy), adam))
    for epoch in range(epochs):
        for batch in batches_of(epoch):
            train_state, _ = step(train_state, jax.tree.map(jnp.asarray, batch))
    return train_state.params


def batches_of(epoch):
    order = np.random.default_rng(epoch).permutation(48)
    return [(X[rows], Y[rows]) for rows in order.reshape(4, 12)]


class Loader:
    """As PyTorch's: a pass gives lists of arrays, and it knows its length."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        for x, y in batches_of(self.passes):
            yield [x, y]
        self.passes += 1

    def __len__(self):
        return 4


class OfUnknownLength(Loader):
    """As PyTorch's over a stream, and TensorFlow's data sets."""

    def __len__(self):
        raise TypeError("the length is unknown")


@pytest.mark.parametrize(
    "data",
    [Loader, OfUnknownLength, lambda: batches_of],
    ids=["loader", "of unknown length", "function"],
)
def test_batches_are_trained_on_as_they_come(data):
    result = fit(data())
    chex.assert_trees_all_close(result.params, own_loop(3), rtol=1e-6, atol=1e-7)
    assert result.history["loss"].shape == (3,)


def test_history_weighs_batches_of_unequal_size():
    """At rate 0 the mean over the epoch is that over its examples."""
    parts = [(X[:40], Y[:40]), (X[40:], Y[40:])]
    result = fnn.fit(
        fnn.Dense(3),
        losses.softmax_cross_entropy,
        optimizers.SGD(0.0),
        lambda _: parts,
        key=jax.random.key(0),
        epochs=1,
        validation=iter_again(parts),
        progress=False,
    )
    logits = X.astype("float64") @ result.params["kernel"]
    loss = (np.log(np.exp(logits).sum(1)) - logits[np.arange(53), Y]).mean()
    np.testing.assert_allclose(result.history["loss"], [loss], rtol=1e-5)
    np.testing.assert_allclose(result.history["val_loss"], [loss], rtol=1e-5)


def iter_again(parts):
    class Again:
        def __iter__(self):
            return iter(parts)

    return Again()


def test_evaluate_takes_batches_with_weights():
    weights = np.arange(53) < 20
    params = {"kernel": jnp.eye(4)[:, :3]}
    found = fnn.evaluate(
        fnn.Dense(3, bias=False),
        params,
        {},
        iter_again([(X[:30], Y[:30], weights[:30]), (X[30:], Y[30:], weights[30:])]),
        {"accuracy": metrics.accuracy},
        batch_size=8,
    )
    expected = (X[:20, :3].argmax(1) == Y[:20]).mean()
    np.testing.assert_allclose(found["accuracy"], expected, rtol=1e-6)


def test_error_in_a_loader_reaches_the_user_with_its_traceback():
    def broken(epoch):
        yield X[:16], Y[:16]
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire") as error:
        fit(broken)
    assert "in broken" in "".join(traceback.format_exception(error.value))


def test_batch_unlike_the_first_is_named():
    parts = [(X[:8], Y[:8]), (X[:8, :3], Y[:8])]
    with pytest.raises(ValueError, match=r"batch 1 \(from 0\) is \(float32\[8,3\]"):
        fit(lambda _: parts)


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (iter([(X, Y)]), {}, "can be read once; for 3 epochs"),
        (lambda _: [], {}, "gives no batch"),
        (lambda _: [(X, Y)], {"batch_size": 4}, "batch_size goes with arrays"),
        (lambda _: [X], {}, "a batch must be"),
        (Streamed(X, Y), {"batch_size": 54}, "at most the number of examples, 53"),
        (Streamed(X, Y), {}, "batch_size must be a positive integer, got None"),
        (7, {}, "data must be a pair"),
    ],
)
def test_bad_data_is_refused(data, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fit(data, **changes)


def test_memory_is_used_again_once_nothing_refers_to_it():
    """Not while a view or an array of JAX's has it, whatever the device does with it."""
    memory, dtype = Memory(), np.dtype("float32")

    def filled(value):
        array = memory.empty((3, 5), dtype)
        array[...] = value
        return array

    first = filled(1)
    address, part = first.ctypes.data, first[1:]
    on_device = jax.device_put(first)
    assert address % 64 == 0
    del first
    others = [filled(value) for value in (2, 3)]
    np.testing.assert_array_equal(on_device, np.ones((3, 5)))
    np.testing.assert_array_equal(part, np.ones((2, 5)))
    del on_device, part
    gc.collect()  # when JAX lets go of what was given back
    assert filled(4).ctypes.data == address
    assert [other.mean() for other in others] == [2, 3]
    assert memory.empty((2, 5), dtype).ctypes.data != address


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32", "bool"])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 0), slice(None, None, 2), 1])
def test_what_is_put_on_the_device_is_a_copy(dtype, rows):
    block = np.zeros(64 + 8 * 15, np.uint8)
    first = -block.ctypes.data % 64  # where JAX would take the memory itself
    dtype = jnp.dtype(dtype)
    whole = block[first : first + 15 * dtype.itemsize].view(dtype).reshape(5, 3)
    whole[...] = np.arange(15).reshape(5, 3) % 2
    x = whole[rows]
    expected = x.tolist()
    on_device = put_copy(x)
    whole[...] = 1 - whole
    assert on_device.tolist() == expected
    assert on_device.dtype == jax.dtypes.canonicalize_dtype(dtype)


def test_what_is_put_on_the_device_is_copied_once(monkeypatch):
    """The array that JAX is given is the one that it goes on with."""
    given, put = [], jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda a: given.append(a) or put(a))
    assert put_copy(X).unsafe_buffer_pointer() == given[0].ctypes.data


def test_evaluating_again_takes_no_more_memory(monkeypatch):
    asked = []
    fresh = streaming._fresh
    monkeypatch.setattr(streaming, "_fresh", lambda n: asked.append(n) or fresh(n))
    monkeypatch.setattr(placing, "BYTES_PER_CHUNK", 400)
    examples = evaluation.held_out(Streamed(X, Y), "validation")
    asked.clear()
    for _ in range(2):
        chunks = list(examples.chunks())
        assert len(asked) == len(chunks) * 2 > 2
        del chunks
        gc.collect()


def test_memory_of_threads_that_ended_goes_back_to_the_system(monkeypatch):
    """An allocator would keep some of it for threads to come."""
    mapped, fresh = [], streaming._fresh

    def noted(nbytes):
        block = fresh(nbytes)
        assert type(block) is mmap.mmap  # which the system unmaps when it is collected
        mapped.append((weakref.ref(block), len(block)))
        return block

    def held_bytes():
        gc.collect()
        return sum(nbytes for block, nbytes in mapped if block() is not None)

    def fill(memory):
        for _ in range(8):
            array = memory.empty((2**22,), np.dtype("uint8"))
            array[...] = 1
            yield array

    monkeypatch.setattr(streaming, "_fresh", noted)
    for _ in range(2):
        with prefetched(fill(Memory())) as arrays:
            held = list(arrays)
        assert held_bytes() == 8 * 2**22
        del held
        assert held_bytes() == 0


def test_streamed_refuses_what_is_not_alike():
    with pytest.raises(ValueError, match="as many examples"):
        Streamed(X, Y[:-1])
    with pytest.raises(TypeError, match="x must be an array of numbers, got str"):
        Streamed("x", Y)
    with pytest.raises(ValueError, match="no example"):
        Streamed(X[:0], Y[:0])


def test_prefetch_keeps_the_order_and_reads_no_more_than_it_may():
    read = []

    def source():
        for i in range(10):
            read.append(i)
            yield i

    with prefetched(source(), ahead=2) as items:
        assert next(items) == 0
        time.sleep(0.2)
        assert len(read) <= 4  # one used, two waiting, one in the reader's hand
        assert list(items) == list(range(1, 10))


def test_prefetch_ends_its_thread_whatever_happens():
    def endless():
        while True:
            yield 0

    def failing():
        with prefetched(endless()) as items:
            next(items)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
