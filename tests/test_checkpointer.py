"""A series of checkpoints: which are kept, which is restored, what goes on behind."""

import pickle
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import checkpoint
from fnn.checkpoint import Checkpointer

TEMPLATE = {"w": np.zeros(3)}


def tree(value):
    return {"w": np.full(3, float(value))}


def fill(checkpointer, steps, metrics=None):
    """Save a tree that holds the number of the step, for each step."""
    with checkpointer.open() as writer:
        for i, step in enumerate(steps):
            writer.save(step, tree(step), metrics=metrics and {"loss": metrics[i]})


def newest(folder):
    return max(folder.glob("*.safetensors"))


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_newest_are_kept_and_the_newest_is_restored(tmp_path, asynchronous):
    checkpointer = Checkpointer(tmp_path / "run", keep=2, asynchronous=asynchronous)
    assert checkpointer.latest() is None
    fill(checkpointer, [1, 2, 3, 10])
    assert checkpointer.steps() == (3, 10)
    assert checkpointer.latest() == 10
    assert checkpointer.restore(TEMPLATE).step == 10
    np.testing.assert_array_equal(checkpointer.restore(TEMPLATE).tree["w"], [10] * 3)
    np.testing.assert_array_equal(checkpointer.restore(TEMPLATE, 3).tree["w"], [3] * 3)
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_all_are_kept_on_request(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=None)
    fill(checkpointer, range(7))
    assert checkpointer.steps() == tuple(range(7))


@pytest.mark.parametrize(("direction", "best"), [("min", 2), ("max", 1)])
def test_the_best_is_kept_too(tmp_path, direction, best):
    checkpointer = Checkpointer(tmp_path, keep=1, best=("loss", direction))
    assert checkpointer.best_step() is None
    fill(checkpointer, [1, 2, 3], [9.0, 1.0, 5.0])
    fill(checkpointer, [4, 5, 6], [3.0, float("nan"), 1.0])
    assert checkpointer.steps() == (best, 6)
    assert checkpointer.best_step() == best
    restored = checkpointer.restore(TEMPLATE, best)
    assert restored.metrics == {"loss": 1.0 if direction == "min" else 9.0}


def test_a_checkpoint_without_the_metric_is_not_the_best(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=1, best=("loss", "min"))
    with checkpointer.open() as writer:
        writer.save(1, tree(1))
        writer.save(2, tree(2), metrics={"loss": jnp.float32(0.5)})
        writer.save(3, tree(3))
        with pytest.raises(ValueError, match=r"best is by 'loss', .* \['val_loss'\]"):
            writer.save(4, tree(4), metrics={"val_loss": 0.1})
    assert checkpointer.steps() == (2, 3)


def test_metadata_and_metrics_come_back(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    with checkpointer.open() as writer:
        writer.save(3, tree(3), metrics={"a": np.float32(0.5)}, metadata={"epoch": [1, 2]})
        with pytest.raises(ValueError, match=r"names \['step'\] in the metadata"):
            writer.save(4, tree(4), metadata={"step": 4})
        with pytest.raises(ValueError, match="step must be a positive integer, got -1"):
            writer.save(-1, tree(4))
    restored = checkpointer.restore(TEMPLATE)
    assert restored[1:] == (3, {"a": 0.5}, {"epoch": [1, 2]})
    with pytest.raises(ValueError, match=r"another 'epoch'"):
        checkpointer.restore(TEMPLATE, expected={"epoch": [1]})


def test_when_a_checkpoint_is_due(tmp_path):
    checkpointer = Checkpointer(tmp_path, every=10)

    def run(steps):
        due = []
        with checkpointer.open() as writer:
            for step in steps:
                if writer.due(step):
                    due.append(step)
                    writer.save(step, tree(step))
        return due

    assert run([1, 9, 10, 11, 20, 39, 41, 42]) == [10, 20, 39, 41]
    assert run([43, 49, 55]) == [55]
    assert run([0]) == [0]


def test_newest_is_what_was_written_last(tmp_path):
    """Even where training went back to an earlier step, and was killed again."""
    checkpointer = Checkpointer(tmp_path, keep=3)
    fill(checkpointer, [80, 90, 100])
    with checkpointer.open() as writer:
        writer.save(85, tree(-85))
    assert checkpointer.steps() == (90, 100, 85)
    assert checkpointer.restore(TEMPLATE).step == 85
    with checkpointer.open() as writer:
        writer.save(90, tree(-90))
    np.testing.assert_array_equal(checkpointer.restore(TEMPLATE, 90).tree["w"], [-90] * 3)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_newest_file_is_passed_over_with_a_warning(tmp_path, damage):
    checkpointer = Checkpointer(tmp_path)
    fill(checkpointer, [1, 2])
    path = newest(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    length = {"truncate": -4, "flip": None, "empty": 0}[damage]
    path.write_bytes(content[:length])
    pattern = rf"{path.name} is corrupted: .*; using 000000_step_1\.safetensors"
    with pytest.warns(RuntimeWarning, match=pattern) as caught:
        restored = checkpointer.restore(TEMPLATE)
    assert caught[0].filename == __file__
    assert restored.step == 1
    np.testing.assert_array_equal(restored.tree["w"], [1] * 3)
    with pytest.raises(checkpoint.CorruptedError, match=path.name):
        checkpointer.restore(TEMPLATE, 2)


def test_training_goes_on_past_a_damaged_file(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=1, best=("loss", "min"))
    fill(checkpointer, [5], [1.0])
    newest(tmp_path).write_bytes(b"")
    fill(checkpointer, [4], [1.0])
    assert checkpointer.restore(TEMPLATE).step == 4


def test_no_whole_file_is_an_error_that_names_all(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    fill(checkpointer, [1, 2])
    for path in tmp_path.iterdir():
        path.write_bytes(b"x")
    with pytest.raises(checkpoint.CorruptedError, match=r"(?s)step_2.*step_1"):
        checkpointer.restore(TEMPLATE)


def test_no_checkpoint_is_an_error_that_says_what_there_is(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no checkpoint"):
        checkpointer.restore(TEMPLATE)
    fill(checkpointer, [1, 2])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7; .* \(1, 2\)"):
        checkpointer.restore(TEMPLATE, 7)


def test_a_file_that_does_not_fit_is_no_reason_to_go_back(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    fill(checkpointer, [1, 2])
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(ValueError, match=r"000001_step_2.* does not fit the template"),
    ):
        checkpointer.restore({"w": np.zeros(4)})


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = {
        "notes.txt",
        "best.safetensors",
        "x_step_1.safetensors",
        "1_step_1.safetensors",
    }
    for name in others:
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / ".000009_step_9.safetensors.0123456789abcdef.tmp").write_text(
        "half", encoding="utf-8"
    )
    checkpointer = Checkpointer(tmp_path, keep=1)
    fill(checkpointer, [1, 2])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == others | {"000001_step_2.safetensors"}


def test_arrays_may_be_donated_and_changed_right_after_saving(tmp_path):
    step = jax.jit(lambda w: w + 1, donate_argnums=0)
    w, host = jnp.zeros(1 << 18), np.zeros(1 << 18)
    checkpointer = Checkpointer(tmp_path, keep=None)
    with checkpointer.open() as writer:
        for i in range(5):
            writer.save(i, {"w": w, "host": host})
            pointer = w.unsafe_buffer_pointer()
            w = step(w)
            assert w.unsafe_buffer_pointer() == pointer  # nothing was in the way
            host += 1
    for i in range(5):
        restored = checkpointer.restore({"w": w, "host": host}, i).tree
        np.testing.assert_array_equal(restored["w"], np.full(1 << 18, i))
        np.testing.assert_array_equal(restored["host"], np.full(1 << 18, i))


def hold_writing(monkeypatch, release):
    """Let no file be finished before an event is set."""
    replace = fnn.checkpoint.atomic.os.fsync

    def fsync(descriptor):
        assert release.wait(10)
        replace(descriptor)

    monkeypatch.setattr("os.fsync", fsync)


def test_saving_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    release = threading.Event()
    hold_writing(monkeypatch, release)
    checkpointer = Checkpointer(tmp_path)
    with checkpointer.open() as writer:
        writer.save(1, tree(1))  # returns, though no file can be finished
        assert checkpointer.steps() == ()
        release.set()
        writer.wait()
        assert checkpointer.steps() == (1,)
    assert not [t for t in threading.enumerate() if t.name.startswith("fnn.checkpoint")]


def fail_once(monkeypatch):
    """Let the next file that is brought to disk find it full."""
    fsync = fnn.checkpoint.atomic.os.fsync

    def full(_):
        monkeypatch.setattr("os.fsync", fsync)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)


def test_an_error_behind_comes_at_the_next_save_and_harms_nothing(tmp_path, monkeypatch):
    checkpointer = Checkpointer(tmp_path)
    with checkpointer.open() as writer:
        writer.save(1, tree(1))
        writer.wait()
        fail_once(monkeypatch)
        writer.save(2, tree(2))
        with pytest.raises(OSError, match="No space left") as caught:
            writer.save(3, tree(3))
        assert "step_2.safetensors was not written" in caught.value.__notes__[0]
        writer.save(4, tree(4))  # it was said, and once is enough
    assert checkpointer.steps() == (1, 4)
    assert not list(tmp_path.glob(".*"))


def test_an_error_behind_comes_at_the_end_at_the_latest(tmp_path, monkeypatch):
    checkpointer = Checkpointer(tmp_path)
    fail_once(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        fill(checkpointer, [1])


def save_and_be_interrupted(checkpointer):
    with checkpointer.open() as writer:
        writer.save(1, tree(1))
        raise KeyboardInterrupt


def test_an_error_behind_does_not_hide_that_of_the_loop(tmp_path, monkeypatch):
    fail_once(monkeypatch)
    with pytest.raises(KeyboardInterrupt) as caught:
        save_and_be_interrupted(Checkpointer(tmp_path))
    assert "besides, a checkpoint was not written" in caught.value.__notes__[0]


def test_what_was_being_written_is_finished_when_the_loop_fails(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        save_and_be_interrupted(checkpointer)
    assert checkpointer.steps() == (1,)


def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in ("file", "file/folder"):
        with (
            pytest.raises(OSError, match="file"),
            Checkpointer(tmp_path / folder).open(),
        ):
            pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0}, "keep must be a positive integer, got 0"),
        ({"every": 0}, "every must be a positive integer, got 0"),
        ({"best": "loss"}, r"best must be .*, got 'loss'"),
        ({"best": ("loss", "lowest")}, r"best must be .* 'min' or 'max'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Checkpointer("run", **arguments)


def test_it_is_a_value(tmp_path):
    value = Checkpointer("run", keep=None, best=("loss", "max"))
    text = "fnn.checkpoint.Checkpointer('run', keep=None, best=('loss', 'max'))"
    assert repr(value) == text
    assert eval(repr(value)) == value
    assert hash(pickle.loads(pickle.dumps(value))) == hash(value)
    with pytest.raises(ValueError, match="best_step needs best"):
        Checkpointer(tmp_path).best_step()
