"""Searches train what `fit` trains, in groups, and find their way back after a stop."""

import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import search

X = jnp.linspace(-1, 1, 20)[:, None]
DATA = X, 2 * X
SGD = fnn.optimizers.SGD(0.1)
OBJECTIVE = fnn.supervised(fnn.Dense(1, bias=False), fnn.losses.squared_error)
RATES = {"optimizer.learning_rate": search.LogUniform(1e-2, 3e-1)}
OPTIONS = {"validation": DATA, "batch_size": 20, "progress": False}


def descended(rate, steps, start):
    """Return the loss of w x for 2 x after steps of gradient descent in batch mode."""
    mean_square = float(np.mean(np.asarray(X, np.float64) ** 2))
    error = (start - 2) * (1 - 2 * rate * mean_square) ** steps
    return error**2 * mean_square


def start_of(key):
    params, _ = fnn.Dense(1, bias=False).init(jax.random.split(key, 3)[0], X[0])
    return float(params["kernel"][0, 0])


def test_figures_are_those_of_gradient_descent_over_seeds():
    results = search.random(
        (OBJECTIVE, SGD),
        RATES,
        DATA,
        key=jax.random.key(0),
        trials=3,
        epochs=4,
        seeds=2,
        **OPTIONS,
    )
    seeds = jax.random.split(jax.random.key(0), 2)
    starts = [start_of(key) for key in seeds]
    for row in results.rows:
        losses = [descended(row["optimizer.learning_rate"], 4, start) for start in starts]
        assert math.isclose(row["val_loss"], np.mean(losses), rel_tol=1e-4)
        assert math.isclose(row["deviation"], np.std(losses), rel_tol=1e-3)
        assert row["epochs"] == 4
        assert not row["diverged"]
    assert results.best["val_loss"] == min(results.columns["val_loss"])


def wide(values):
    model = fnn.Sequential(fnn.Dense(values["width"]), values["activation"], fnn.Dense(1))
    return fnn.supervised(model, fnn.losses.squared_error), fnn.optimizers.SGD(
        values["rate"]
    )


def test_trials_of_other_shapes_are_other_groups(tmp_path):
    """Two widths make two groups; a rate that diverges never wins."""
    space = {
        "rate": search.Choice((1e-2, 1e-1, 1e30)),
        "width": search.Integers(1, 2),
        "activation": search.Choice((jax.nn.relu,)),
    }
    options = {"key": jax.random.key(1), "epochs": 3, "points": 1} | OPTIONS
    compiled = []

    def setup(values):
        compiled.append(isinstance(values["rate"], jax.core.Tracer))
        return wide(values)

    results = search.grid(setup, space, DATA, **options)
    assert len(results.rows) == 6
    assert sum(compiled) == 3  # a look at what can be traced, and two groups
    diverged = [row["rate"] == 1e30 for row in results.rows]
    assert results.columns["diverged"] == diverged
    assert results.best["rate"] < 1
    assert all(math.isnan(row["val_loss"]) for row in results.sorted().rows[-2:])
    assert "relu" in str(results)

    for name in ("table.csv", "table.jsonl"):
        results.save(tmp_path / name)
        loaded = search.load_results(tmp_path / name, "val_loss")
        assert loaded.best["val_loss"] == results.best["val_loss"]
        assert loaded.columns["diverged"] == diverged
        assert loaded.columns["activation"] == ["jax.nn.relu"] * 6
    with pytest.raises(ValueError, match="CSV does not hold it"):
        search.load_results(tmp_path / "table.csv")


def halved(**options):
    options = OPTIONS | options
    return search.successive_halving(
        (OBJECTIVE, SGD),
        RATES,
        DATA,
        key=jax.random.key(2),
        trials=7,
        epochs=6,
        factor=2,
        **options,
    )


@pytest.fixture(scope="module")
def halving(tmp_path_factory):
    path = tmp_path_factory.mktemp("halving") / "journal.jsonl"
    return path, halved(checkpoint=path)


def test_halving_is_that_of_a_simulation(halving):
    _, results = halving
    start = start_of(jax.random.split(jax.random.key(2), 1)[0])
    rates = results.columns["optimizer.learning_rate"]
    alive, expected = list(range(7)), {}
    for count, epochs in ((7, 1), (3, 2), (1, 4)):
        loss = {trial: descended(rates[trial], epochs, start) for trial in alive}
        alive = sorted(alive, key=lambda trial, loss=loss: loss[trial])[:count]
        expected |= {trial: (epochs, loss[trial]) for trial in alive}
    for row in results.rows:
        epochs, loss = expected[row["trial"]]
        assert row["epochs"] == epochs
        assert math.isclose(row["val_loss"], loss, rel_tol=1e-4)


@pytest.mark.parametrize("kept", [4, 10])
def test_an_interrupted_halving_goes_on_to_the_same_end(halving, kept, tmp_path):
    path, results = halving
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 1 + 7 + 3 + 1
    journal = tmp_path / "journal.jsonl"
    journal.write_text(
        "".join(lines[:kept]) + lines[kept][:9], encoding="utf-8"
    )  # cut within a line
    again = halved(checkpoint=journal)
    for row, same in zip(again.rows, results.rows, strict=True):
        assert row["epochs"] == same["epochs"]
        assert math.isclose(row["val_loss"], same["val_loss"], rel_tol=1e-5)
    assert len(journal.read_text(encoding="utf-8").splitlines()) == len(lines)


def test_a_journal_that_can_not_be_written_anew_is_left_as_it_was(
    halving, monkeypatch, tmp_path
):
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(halving[0].read_bytes())

    def full(*arguments):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            halved(checkpoint=journal)
    assert journal.read_bytes() == halving[0].read_bytes()


def test_a_finished_search_is_only_read(halving, monkeypatch):
    path, results = halving
    monkeypatch.setattr(search.populations.Population, "train", None)
    assert halved(checkpoint=path) == results


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 10}, "batch_size was 20, is 10"), ({"trials": 5}, "settings was")],
)
def test_a_checkpoint_of_another_search_is_refused(halving, options, message):
    arguments = {"key": jax.random.key(2), "trials": 7, "epochs": 6} | OPTIONS | options
    with pytest.raises(ValueError, match=f"of another search: {message}"):
        search.random((OBJECTIVE, SGD), RATES, DATA, checkpoint=halving[0], **arguments)


def test_cross_validation_trains_without_each_fold():
    """11 examples in folds of 3, 4 and 4; as x² = 1, no step depends on its batch."""
    x = jnp.resize(jnp.array([1.0, -1.0]), (11, 1))
    model = fnn.Dense(1, bias=False, kernel_init=jax.nn.initializers.zeros)
    objective = fnn.supervised(model, fnn.losses.squared_error)
    results = search.cross_validate(
        (objective, SGD),
        [{"optimizer.learning_rate": rate} for rate in (0.1, 0.3)],
        (x, 2 * x),
        k=3,
        key=jax.random.key(3),
        epochs=2,
        batch_size=7,
        stratify=np.asarray(x[:, 0] > 0),
        progress=False,
    )
    for row in results.rows:
        shrink = 1 - 2 * row["optimizer.learning_rate"]
        # Two epochs of one step, where 7 are left to train on, and of two, where 8 are.
        losses = [(2 * shrink**steps) ** 2 for steps in (4, 2, 2)]
        assert math.isclose(row["val_loss"], np.mean(losses), rel_tol=1e-4)
        assert math.isclose(row["deviation"], np.std(losses), rel_tol=1e-3)
    assert results.best["optimizer.learning_rate"] == 0.3


def test_errors_come_before_the_training():
    options = {"key": jax.random.key(0), "trials": 2, "epochs": 1} | OPTIONS
    with pytest.raises(ValueError, match=r"metric must be one of .*'val_loss'.*'val_los'"):
        search.random((OBJECTIVE, SGD), RATES, DATA, metric="val_los", **options)
    with pytest.raises(TypeError, match=r"pair .objective, optimizer."):
        search.random(OBJECTIVE, RATES, DATA, **options | {"key": jax.random.key(0)})


def test_nothing_wins_where_all_diverged():
    rows = [{"trial": 0, "val_loss": math.nan, "diverged": True}]
    with pytest.raises(ValueError, match="all diverged"):
        _ = search.Results(rows, "val_loss").best
    accuracy = [{"val_accuracy": value} for value in (0.5, math.nan, 0.9)]
    assert search.Results(accuracy, "val_accuracy", grows=True).best["val_accuracy"] == 0.9
    json.dumps(search.Results(accuracy, "val_accuracy").columns)
