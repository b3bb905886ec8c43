"""Stopping early, by hand, in a scan and in `fit`."""

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import checkpoint, losses, optimizers
from fnn.training.early_stopping import StoppingState

VALUES = st.lists(
    st.sampled_from([0.0, 0.5, 0.6, 1.0, 2.0, float("nan"), float("inf")]),
    min_size=1,
    max_size=12,
)


def by_hand(values, patience, min_delta, grows):
    """Return after how many epochs it stops (or their number), and which is the best."""
    best, epoch_of_best, waited = None, None, 0
    for epoch, value in enumerate(values):
        worst = -np.inf if grows else np.inf
        reference = worst if best is None else best
        gain = value - reference if grows else reference - value
        if gain > min_delta:
            best, epoch_of_best, waited = value, epoch, 0
        else:
            waited += 1
            if waited >= patience:
                return epoch + 1, epoch_of_best
    return len(values), epoch_of_best


@given(
    values=VALUES,
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.25]),
    grows=st.booleans(),
)
def test_it_is_the_rule_by_hand(values, patience, min_delta, grows):
    stopping = fnn.EarlyStopping(patience, min_delta=min_delta, grows=grows)
    state = stopping.init(np.float32(-1))
    epochs = 0
    for epoch, value in enumerate(values):
        state = stopping.update(state, value, np.float32(epoch))
        epochs += 1
        if state.stop:
            break
    expected, best = by_hand(values, patience, min_delta, grows)
    assert epochs == expected
    assert state.params == (-1 if best is None else best)


def test_it_runs_inside_a_scan():
    stopping = fnn.EarlyStopping(2)
    losses_ = jnp.array([3.0, 1.0, 2.0, 1.5, 0.1])

    def step(state, pair):
        value, epoch = pair
        state = stopping.update(state, value, {"epoch": epoch})
        return state, state.stop

    start = stopping.init({"epoch": jnp.float32(-1)})
    _, stops = jax.lax.scan(step, start, (losses_, jnp.arange(5.0)))
    assert stops.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("step", [1e-9, 1e-12])
def test_values_are_compared_as_they_are_given(step):
    """NumPy's float64 is, without x64 too: each value is better by a little."""
    values = [np.float64(1) - k * step for k in range(4)]
    patient, strict = fnn.EarlyStopping(1), fnn.EarlyStopping(1, min_delta=1.5 * step)
    state, hopeless = patient.init(np.float32(-1)), strict.init(np.float32(-1))
    for epoch, value in enumerate(values):
        state = patient.update(state, value, np.float32(epoch))
        hopeless = strict.update(hopeless, value, np.float32(epoch))
    assert (state.best, state.stop, state.params) == (values[-1], False, 3)
    assert hopeless.stop


def test_float64_is_compared_inside_a_scan(x64):
    stopping = fnn.EarlyStopping(1, min_delta=1e-13)
    values = 1 - 1e-12 * jnp.arange(4.0)

    def step(state, value):
        return stopping.update(state, value, value), None

    state, _ = jax.lax.scan(step, stopping.init(jnp.float64(0)), values)
    assert state.best == state.params == values[-1]


def test_a_state_that_was_saved_in_float32_is_read(tmp_path):
    stopping = fnn.EarlyStopping(3)
    saved = StoppingState(jnp.float32(0.5), {}, jnp.int32(2), jnp.bool_(False))
    checkpoint.save(tmp_path / "state", saved)
    state = checkpoint.load(tmp_path / "state", stopping.init({}))
    assert stopping.update(state, 0.6, {}).stop
    assert stopping.update(state, 0.4, {}).best == 0.4


X = np.linspace(-1, 1, 32, dtype="float32")[:, None]


def fit(optimizer=None, **changes):
    arguments = {
        "key": jax.random.key(0),
        "epochs": 40,
        "batch_size": 8,
        "validation": (X, np.sin(3 * X)),
        "progress": False,
    }
    model = fnn.Sequential(fnn.Dense(16), jax.nn.tanh, fnn.Dense(1))
    return fnn.fit(
        model,
        losses.squared_error,
        optimizer or optimizers.Adam(0.2),
        (X, np.sin(3 * X)),
        **(arguments | changes),
    )


def test_fit_stops_and_returns_the_best():
    seen = []
    result = fit(early_stopping=fnn.EarlyStopping(3), callbacks=[seen.append])
    values = result.history["val_loss"]
    epochs, best = by_hand(values, 3, 0.0, False)
    assert len(values) == epochs < 40
    assert best < epochs - 1
    chex.assert_trees_all_equal(result.params, seen[best].params)


def test_best_is_kept_where_training_ends_before_patience():
    """The monitored value is the largest loss, which comes early."""
    seen = []
    stopping = fnn.EarlyStopping(50, grows=True)
    result = fit(early_stopping=stopping, callbacks=[seen.append], epochs=9)
    best = int(np.argmax(result.history["val_loss"]))
    assert best < 8
    chex.assert_trees_all_equal(result.params, seen[best].params)


def test_callbacks_see_values_and_can_stop():
    seen = []

    def stop_at_two(end):
        seen.append(end)
        return end.epoch == 2

    result = fit(callbacks=[stop_at_two])
    assert len(result.history["loss"]) == 3
    assert [end.epoch for end in seen] == [0, 1, 2]
    assert [end.step for end in seen] == [4, 8, 12]
    assert seen[1].figures["loss"] == result.history["loss"][1]
    chex.assert_trees_all_equal(seen[-1].params, result.params)


@pytest.mark.parametrize(
    ("flag", "epochs"),
    [
        *((flag, 1) for flag in (True, np.bool_(True), np.array(True), jnp.array(True))),
        *((flag, 2) for flag in (None, np.bool_(False), jnp.array(False), 1, "yes")),
    ],
)
def test_what_stops_training_is_true_in_any_library(flag, epochs):
    assert len(fit(callbacks=[lambda end: flag], epochs=2).history["loss"]) == epochs


@pytest.mark.parametrize("ends", ["in NaN", "by an interrupt", "at large"])
def test_the_best_is_returned_whatever_ends_training(ends, tmp_path):
    """Without early stopping, what training ended with would be far worse."""
    seen = []
    rate = 1e30 if ends == "in NaN" else 1.0

    def end_of(end):
        seen.append(end)
        if ends == "by an interrupt" and end.epoch == 6:
            raise KeyboardInterrupt

    folder = checkpoint.Checkpointer(tmp_path, best=("val_loss", "min"))
    epochs = 7 if ends == "at large" else 8
    arguments = {"callbacks": [end_of], "epochs": epochs, "checkpoint": folder}
    arguments["early_stopping"] = fnn.EarlyStopping(50)
    arguments["optimizer"] = optimizers.SGD(lambda i: jnp.where(i < 14, 0.1, rate))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(**arguments)
    told = "the best by 'val_loss'" in str([warning.message for warning in caught])
    assert told == (ends == "in NaN")
    values = [end.figures["val_loss"] for end in seen]
    best = int(np.argmin(values))
    assert best < 6
    assert ends == "in NaN" or values[-1] > 2 * values[best]
    chex.assert_trees_all_equal(result.params, seen[best].params)
    assert folder.best_step() == seen[best].step


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="patience must be a positive integer, got 0"):
        fnn.EarlyStopping(0)
    with pytest.raises(ValueError, match="min_delta"):
        fnn.EarlyStopping(1, min_delta=-1.0)
    with pytest.raises(ValueError, match=r"early_stopping\.metric must be one of"):
        fit(early_stopping=fnn.EarlyStopping(2, "val_accuracy"))
