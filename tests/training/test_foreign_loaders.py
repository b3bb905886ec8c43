"""Loaders of PyTorch, Grain and TensorFlow, where these are installed."""

import gc
import multiprocessing
import threading
import time
import traceback

import chex
import jax
import numpy as np
import pytest
from loaded_examples import COUNT, Examples

import fnn

BATCH = 8
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def torch_loader(broken=None, **options):
    data = pytest.importorskip("torch.utils.data")
    return data.DataLoader(Examples(broken), batch_size=BATCH, **options)


def torch_workers(broken=None):
    return torch_loader(broken, num_workers=1, multiprocessing_context="forkserver")


def grain_dataset(broken=None):
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(Examples(broken)).batch(BATCH)


def grain_loader(broken=None, workers=0):
    grain = pytest.importorskip("grain")
    pytest.importorskip("absl.flags").FLAGS.mark_as_parsed()  # as absl.app.run does
    sharding = grain.sharding.NoSharding()
    return grain.DataLoader(
        data_source=Examples(broken),
        sampler=grain.samplers.IndexSampler(COUNT, sharding, shuffle=False, num_epochs=1),
        operations=[grain.transforms.Batch(BATCH)],
        worker_count=workers,
    )


def grain_workers(broken=None):
    return grain_loader(broken, workers=1)


def tensorflow_dataset(broken=None):
    """Return one that does not know its length."""
    tf = pytest.importorskip("tensorflow")
    examples = Examples(broken)
    specs = tf.TensorSpec((3,), "float32"), tf.TensorSpec((), "float32")
    data = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=specs)
    return data.batch(BATCH).prefetch(2)


LOADERS = [
    torch_loader,
    torch_workers,
    grain_dataset,
    grain_loader,
    grain_workers,
    tensorflow_dataset,
]


def fit(data, **options):
    return fnn.fit(
        fnn.Dense(1),
        lambda output, y: fnn.losses.squared_error(output[0], y),
        fnn.optimizers.SGD(0.01),
        data,
        key=jax.random.key(0),
        epochs=2,
        params={"kernel": np.zeros((3, 1), "float32"), "bias": np.zeros(1, "float32")},
        progress=False,
        **options,
    )


def by_hand():
    """Return the weights, and the losses of the epochs, in float64."""
    w, losses = np.zeros(4), []
    x, y = (np.stack(column).astype("float64") for column in zip(*Examples(), strict=True))
    x = np.c_[x, np.ones(COUNT)]
    for _ in range(2):
        squares = []
        for rows in np.arange(COUNT).reshape(-1, BATCH):
            errors = x[rows] @ w - y[rows]
            squares.append((errors**2).mean())
            w = w - 0.01 * 2 * (errors[:, None] * x[rows]).mean(0)
        losses.append(np.mean(squares))
    return w, losses, ((x @ w - y) ** 2).mean()


def running():
    """Return the threads and the processes of Python's."""
    gc.collect()
    return {*threading.enumerate(), *multiprocessing.active_children()}


@pytest.mark.parametrize("make", LOADERS)
def test_every_loader_trains_and_validates(make):
    w, losses, validated = by_hand()
    result = fit(make(), validation=make())
    chex.assert_trees_all_close(
        result.params, {"kernel": w[:3, None], "bias": w[3:]}, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(result.history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(result.history["val_loss"][-1], validated, rtol=1e-5)


@pytest.mark.parametrize("make", LOADERS)
def test_an_error_in_a_loader_is_shown_with_where_it_happened(make):
    with pytest.raises(Exception, match="example 29 can't be read") as error:
        fit(make(29))
    assert "loaded_examples.py" in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("make", LOADERS)
def test_nothing_runs_on_that_a_loop_of_ones_own_would_not_leave(make):
    for _ in make():
        pass
    before = running()
    fit(make(), callbacks=[lambda end: True])
    end = time.monotonic() + 60
    while (left := running() - before) and time.monotonic() < end:
        time.sleep(0.05)  # some end a little later
    assert not left


def test_tensors_of_tensorflow_are_arrays_and_others_say_what_to_give():
    tf = pytest.importorskip("tensorflow")
    model = fnn.Sequential(jax.numpy.negative)
    for make in (tf.constant, tf.Variable):
        y = fnn.predict(model, {}, {}, make(np.ones((2, 3), "float32")))
        np.testing.assert_array_equal(y, -np.ones((2, 3)))
    with pytest.raises(TypeError, match=r"^x must be.*string\[2\]; number the classes"):
        fnn.predict(model, {}, {}, tf.constant(["a", "b"]))
    with pytest.raises(TypeError, match=r"^x must be.*RaggedTensor.*to_tensor\(\)"):
        fnn.predict(model, {}, {}, tf.ragged.constant([[1.0], [1.0, 2.0]]))
