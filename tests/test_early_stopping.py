"""Stopping early, by hand, in a scan and in `fit`."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import losses, optimizers

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


X = np.linspace(-1, 1, 32, dtype="float32")[:, None]


def fit(**changes):
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
        optimizers.Adam(0.2),
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
    """What is watched here is the largest loss, which comes early."""
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


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="patience must be a positive integer, got 0"):
        fnn.EarlyStopping(0)
    with pytest.raises(ValueError, match="min_delta"):
        fnn.EarlyStopping(1, min_delta=-1.0)
    with pytest.raises(ValueError, match=r"early_stopping\.metric must be one of"):
        fit(early_stopping=fnn.EarlyStopping(2, "val_accuracy"))
