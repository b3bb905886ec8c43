"""Training goes on where it was killed, to the same bits."""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import resumed_training

import fnn
from fnn import losses, optimizers
from fnn.checkpoint import Checkpointer
from fnn.data import Streamed
from fnn.training import placing
from fnn.training.running import resumption, runner

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
MODEL = fnn.Sequential(fnn.Dense(8), jax.nn.relu, fnn.Dropout(0.2), fnn.Dense(2))


def fit(folder, model=MODEL, **changes):
    arguments = {
        "loss": losses.softmax_cross_entropy,
        "optimizer": optimizers.Adam(0.01),
        "data": (X, Y),
        "key": jax.random.key(0),
        "epochs": 3,
        "batch_size": 16,
        "progress": False,
    }
    return fnn.fit(model, checkpoint=folder, **(arguments | changes))


def assert_same(a, b):
    chex.assert_trees_all_equal(a.params, b.params)
    chex.assert_trees_all_equal(a.state, b.state)
    assert list(a.history) == list(b.history)
    for name in a.history:
        if name != "seconds":
            np.testing.assert_array_equal(a.history[name], b.history[name])


def newest_step(folder):
    """Return the step of the newest checkpoint, 0 before there is one."""
    return Checkpointer(folder).latest() or 0


@pytest.fixture(scope="module")
def uninterrupted():
    """Return the result of `resumed_training` that nothing happens to."""
    return resumed_training.train(None)


@pytest.fixture(scope="module")
def compiled_programs(tmp_path_factory):
    """Return the environment by which processes share what they compile."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    return cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@pytest.fixture
def start_training(start_process, compiled_programs):
    """Return what starts `resumed_training` in a process."""
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    environment = os.environ | compiled_programs | path

    def start(*arguments):
        command = [sys.executable, resumed_training.__file__, *arguments]
        return start_process(command, env=environment, stderr=None)

    return start


def assert_stored(path, expected):
    """Check that the file holds what training gave."""
    stored = fnn.checkpoint.load(path)
    chex.assert_trees_all_equal(stored["params"], expected.params)
    chex.assert_trees_all_equal(stored["state"], expected.state)
    for name in expected.history:
        if name != "seconds":
            column = np.float32(expected.history[name])
            np.testing.assert_array_equal(stored["history"][name], column)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    tmp_path, capsys, start_training, uninterrupted
):
    """By SIGKILL, some milliseconds after a random number of steps."""
    folder, result = tmp_path / "run", tmp_path / "result.safetensors"
    rng, kills, leftovers = random.Random(0), 0, 0
    while not result.exists():
        enough = newest_step(folder) + rng.randint(1, 60)
        with start_training(folder, 1, result) as process:
            while process.poll() is None and newest_step(folder) < enough:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
            if process.poll() is None:
                process.kill()
                kills += 1
        assert process.returncode in (0, -signal.SIGKILL)
        leftovers += len(list(folder.glob(".*.tmp")))
    with capsys.disabled():
        sys.stdout.write(f"\nkilled {kills} times, {leftovers} while writing a file\n")
    assert kills >= 5
    assert len(uninterrupted.history["loss"]) == 40
    assert_stored(result, uninterrupted)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a process")
def test_interrupt_saves_what_was_trained(tmp_path, start_training, uninterrupted):
    """Without an interrupt, nothing is saved before step 1,000,000.

    It comes at any moment after epoch 4, at the latest while epoch 30 waits for it.
    """
    folder, result = tmp_path / "run", tmp_path / "result.safetensors"
    with start_training(folder, 1_000_000, result, 30) as process:
        assert "4\n" in process.stdout
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    checkpointer = Checkpointer(folder, every=1_000_000)
    (steps,) = checkpointer.steps()
    assert 5 * 17 <= steps <= 31 * 17
    rows = len(fnn.checkpoint.load(result)["history"]["loss"])
    assert 0 <= steps - 17 * rows <= 17  # 17 where the interrupt was in the callback
    assert_same(resumed_training.train(checkpointer), uninterrupted)


class StopError(Exception):
    """The exception of a callback that ends training in the middle."""


def interrupted(epochs):
    def stop(end):
        if end.epoch == epochs - 1:
            raise StopError

    return stop


@pytest.mark.parametrize("early_stopping", [None, fnn.EarlyStopping(9, "loss")])
def test_more_epochs_may_follow(tmp_path, early_stopping):
    expected = fit(None, epochs=5, early_stopping=early_stopping)
    fit(tmp_path, epochs=2, early_stopping=early_stopping)
    assert_same(fit(tmp_path, epochs=5, early_stopping=early_stopping), expected)
    assert_same(fit(tmp_path, epochs=5, early_stopping=early_stopping), expected)


def test_an_error_in_a_callback_loses_nothing(tmp_path):
    expected = fit(None)
    with pytest.raises(StopError):
        fit(tmp_path, callbacks=[interrupted(2)])
    epochs = []
    result = fit(tmp_path, callbacks=[lambda end: epochs.append(end.epoch)])
    assert epochs == [1, 2]  # the callback of epoch 1 did not come to its end
    assert_same(result, expected)


def test_best_and_newest_are_kept(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=1, best=("loss", "max"))
    result = fit(checkpointer, epochs=6)
    assert len(checkpointer.steps()) == 2
    assert checkpointer.latest() == 24
    assert checkpointer.best_step() == 4 * (1 + int(result.history["loss"].argmax()))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model": fnn.Sequential(fnn.Dense(9), fnn.Dense(2))}, "model"),
        ({"optimizer": optimizers.Adam(0.02)}, "optimizer"),
        ({"data": (X[:40], Y[:40])}, "data"),
        ({"batch_size": 10}, "data"),
        ({"key": jax.random.key(1)}, "key"),
        ({"metrics": {"accuracy": fnn.metrics.accuracy}}, "objective"),
        ({"early_stopping": fnn.EarlyStopping(2, "loss")}, "early_stopping"),
    ],
)
def test_checkpoint_of_another_training_is_refused(tmp_path, changes, what):
    fit(tmp_path, epochs=1)
    with pytest.raises(ValueError, match=f"another '{what}'") as error:
        fit(tmp_path, **changes)
    assert any("give another folder" in note for note in error.value.__notes__)


def test_folder_that_can_not_be_written_is_refused_before_training(tmp_path):
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    seen = []
    with pytest.raises(OSError, match="file"):
        fit(file / "run", callbacks=[seen.append])
    assert not seen


def test_training_goes_on_where_the_disk_is_full(tmp_path, monkeypatch):
    """The first two checkpoints fail, the next are written; training is not touched."""
    expected = fit(None, epochs=4)
    original, calls = fnn.checkpoint.writer.write, []

    def write(*arguments):
        calls.append(arguments)
        if len(calls) <= 2:
            raise OSError(28, "No space left on device")
        original(*arguments)

    monkeypatch.setattr(fnn.checkpoint.writer, "write", write)
    with pytest.warns(RuntimeWarning, match="No space left on device") as warned:
        result = fit(tmp_path, epochs=4)
    assert len(warned) == 2
    assert_same(result, expected)
    assert Checkpointer(tmp_path).steps() == (12, 16)


def test_damaged_newest_checkpoint_is_passed_over(tmp_path):
    expected = fit(None, epochs=4)
    fit(tmp_path, epochs=3)
    newest_file = max(tmp_path.glob("0*.safetensors"))
    newest_file.write_bytes(newest_file.read_bytes()[:-5])
    with pytest.warns(RuntimeWarning, match="corrupted"):
        result = fit(tmp_path, epochs=4)
    assert_same(result, expected)


class Poison(fnn.Layer):
    """The identity, until a parameter has grown: then NaN."""

    def init(self, key, x):
        return {"count": jnp.zeros(())}, {}

    def forward(self, params, x):
        return jnp.where(params["count"] > 4.5, jnp.nan, x + 0 * params["count"])


def batches(x, y):
    return lambda epoch: [(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)]


@pytest.mark.parametrize("form", ["resident", "streamed", "batches"])
def test_what_is_not_finite_is_named_and_the_last_good_is_saved(
    tmp_path, monkeypatch, form
):
    """Each step adds 1 to the count, so that step 5 is the first to give NaN."""
    monkeypatch.setattr(placing, "BYTES_PER_CHUNK", 200)  # a chunk is a batch
    x, y = np.zeros((64, 2), "float32"), Y[:32].repeat(2)
    data = {"resident": (x, y), "streamed": Streamed(x, y), "batches": batches(x, y)}

    def loss(output, target):
        return jnp.sum(output[0]) - output[1]

    class Counter(Poison):
        def forward(self, params, x):
            return super().forward(params, x), params["count"]

    model = fnn.Sequential(fnn.Dense(3), fnn.Sequential(poison=Counter()))
    with pytest.warns(RuntimeWarning) as warned:
        result = fnn.fit(
            model,
            loss,
            optimizers.SGD(1.0),
            data[form],
            key=jax.random.key(0),
            epochs=9,
            batch_size=None if form == "batches" else 16,
            checkpoint=tmp_path,
            progress=False,
        )
    text = str(warned[0].message)
    assert "step 1 of epoch 1" in text
    assert "the loss was nan" in text
    assert "first layer to give NaN or infinity was 'sequential_0/poison'" in text
    assert str(tmp_path / resumption.LAST_GOOD) in text
    good = fnn.checkpoint.load(tmp_path / resumption.LAST_GOOD)
    chex.assert_trees_all_equal(good["params"], result.params)
    assert result.params["sequential_0"]["poison"]["count"] == 4


def test_gradients_that_are_not_finite_are_named():
    """The square root of 0 has the loss 0 and an infinite gradient."""

    def loss(output, target):
        return jnp.sqrt(jnp.sum(jnp.abs(output)))

    with pytest.warns(RuntimeWarning, match="gradients with NaN or infinity") as warned:
        result = fit(
            None,
            fnn.Dense(1, bias=False, kernel_init=fnn.initializers.zeros),
            loss=loss,
            optimizer=optimizers.SGD(0.1),
            epochs=1,
            batch_size=50,
        )
    assert "the loss was 0; gradients" in str(warned[0].message)
    np.testing.assert_array_equal(result.params["kernel"], np.zeros((4, 1)))


@pytest.mark.parametrize("stop", [(2, 0), (1, 3)])
def test_training_goes_on_from_sums_without_their_errors(tmp_path, monkeypatch, stop):
    """Checkpoints had a carry of plain sums, and what was best in float32.

    It stops before an epoch, where the sums are 0, and amid one.
    """
    monkeypatch.setattr(runner, "FIRST_PIECE", 1)
    monkeypatch.setattr(runner, "SECONDS_PER_PIECE", 0.0)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")

    def fit(folder=None, stop=None):
        def batches(epoch):
            for i in range(4):
                if (epoch, i) == stop:
                    raise KeyboardInterrupt
                yield x[8 * i : 8 * i + 8], x[8 * i : 8 * i + 8].sum(1)

        return fnn.fit(
            fnn.Sequential(fnn.Dense(1), jnp.sum),
            fnn.losses.squared_error,
            fnn.optimizers.Adam(0.1),
            batches,
            key=jax.random.key(0),
            epochs=3,
            early_stopping=fnn.EarlyStopping(9, "loss"),
            checkpoint=folder,
            progress=False,
        )

    with contextlib.suppress(KeyboardInterrupt):
        fit(tmp_path, stop)
    path = max(tmp_path.glob("*.safetensors"))
    arrays, metadata = fnn.checkpoint.load(path), fnn.checkpoint.metadata(path)
    carry, stopping = arrays["carry"], arrays["stopping"]
    means = carry["totals"]
    sums = {name: mean["total"]["0"] + mean["total"]["1"] for name, mean in means.items()}
    examples = means["loss"]["weight"]["0"]
    assert (examples > 0) == (sums["loss"] > 1) == (stop[1] > 0)
    carry |= {"totals": sums, "examples": examples.astype(np.float32)}
    stopping["best"] = stopping["best"].astype(np.float32)
    fnn.checkpoint.save(path, arrays, metadata=metadata)
    resumed, whole = fit(tmp_path), fit()
    chex.assert_trees_all_equal(resumed.params, whole.params)
    # The rounding errors of the sums are lost.
    np.testing.assert_allclose(resumed.history["loss"], whole.history["loss"], rtol=1e-6)
