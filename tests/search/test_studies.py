"""Studies train what `fit` trains, in groups, and resume after a stop."""

import dataclasses
import math
import os
import pickle

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
OPTIONS = {"data": DATA, "validation": DATA, "batch_size": 20, "progress": False}


def descended(rate, steps, start):
    """Return the loss of w x for 2 x after steps of gradient descent in batch mode."""
    mean_square = float(np.mean(np.asarray(X, np.float64) ** 2))
    error = (start - 2) * (1 - 2 * rate * mean_square) ** steps
    return error**2 * mean_square


def start_of(key):
    params, _ = fnn.Dense(1, bias=False).init(jax.random.split(key, 3)[0], X[0])
    return float(params["kernel"][0, 0])


def test_figures_are_those_of_gradient_descent_over_seeds():
    study = search.Study((OBJECTIVE, SGD), epochs=4, seeds=2, **OPTIONS)
    results = study.random(RATES, 3, key=jax.random.key(0))
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
    compiled = []

    def setup(values):
        compiled.append(isinstance(values["rate"], jax.core.Tracer))
        return wide(values)

    study = search.Study(setup, epochs=3, **OPTIONS)
    results = study.grid(space, points=1, key=jax.random.key(1))
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


def halved(checkpoint):
    study = search.Study((OBJECTIVE, SGD), epochs=6, **OPTIONS)
    return study.halving(RATES, 7, key=jax.random.key(2), factor=2, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def halving(tmp_path_factory):
    path = tmp_path_factory.mktemp("halving") / "journal.jsonl"
    return path, halved(path)


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
    again = halved(journal)
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
            halved(journal)
    assert journal.read_bytes() == halving[0].read_bytes()


def test_a_finished_search_is_only_read(halving, monkeypatch):
    path, results = halving
    monkeypatch.setattr(search.trials.Population, "train", None)
    assert halved(path) == results


@pytest.mark.parametrize(
    ("batch_size", "trials", "message"),
    [(10, 7, "batch_size was 20, is 10"), (20, 5, "settings was")],
)
def test_a_checkpoint_of_another_search_is_refused(halving, batch_size, trials, message):
    options = OPTIONS | {"epochs": 6, "batch_size": batch_size}
    study = search.Study((OBJECTIVE, SGD), **options)
    with pytest.raises(ValueError, match=f"of another search: {message}"):
        study.random(RATES, trials, key=jax.random.key(2), checkpoint=halving[0])


def study(**options):
    return search.Study((OBJECTIVE, SGD), **OPTIONS | {"epochs": 1} | options)


def test_errors_come_before_the_training():
    with pytest.raises(ValueError, match=r"metric must be one of .*'val_loss'.*'val_los'"):
        study(metric="val_los").random(RATES, 2, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"least must be at most epochs, 1, got 2"):
        study().halving(RATES, 2, key=jax.random.key(0), least=2)
    with pytest.raises(ValueError, match=r"factor must be at least 2, got 1"):
        study().halving(RATES, 2, key=jax.random.key(0), factor=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"setup": OBJECTIVE}, TypeError, r"setup must be a pair .objective, optimizer."),
        ({"data": X}, TypeError, r"data must be a pair \(x, y\), got float32\[20,1\]"),
        ({"validation": (X, X[:3])}, ValueError, "validation must have as many"),
        ({"data": (X * jnp.nan, X)}, ValueError, "data x holds NaN"),
        ({"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
        ({"batch_size": 2.5}, ValueError, "batch_size must be a positive integer"),
        ({"seeds": 0}, ValueError, "seeds must be a positive integer"),
        ({"at_once": -1}, ValueError, "at_once must be a positive integer"),
        ({"epoch": 3}, TypeError, r"no argument 'epoch' \(did you mean 'epochs'\?\)"),
    ],
)
def test_a_study_refuses_bad_arguments_when_it_is_made(options, error, message):
    with pytest.raises(error, match=message):
        search.Study(**OPTIONS | {"setup": (OBJECTIVE, SGD), "epochs": 1} | options)


def test_a_study_is_a_value():
    """It prints its arrays by dtype and shape, and compares them by content."""
    one = study(seeds=2)
    data = "(float32[20,1], float32[20,1])"
    pair = f"({OBJECTIVE!r}, {SGD!r})"
    assert "\n" not in pair
    arguments = (pair, data, data, "epochs=1", "batch_size=20", "seeds=2", "progress=False")
    lines = "".join(f"    {argument},\n" for argument in arguments)
    assert repr(one) == f"fnn.search.Study(\n{lines})"
    in_numpy = tuple(map(np.asarray, DATA))
    assert one == study(seeds=2, data=in_numpy)
    assert hash(one) == hash(study(seeds=2, data=in_numpy))
    assert one != study(seeds=3)
    assert one != study(seeds=2, data=(X, 3 * X))
    assert dataclasses.replace(one, seeds=3) == study(seeds=3)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.seeds = 3


def test_a_study_keeps_the_arrays_that_it_was_given():
    x, y = np.asarray(X).copy(), np.asarray(2 * X)
    one = study(data=(x, y))
    x[0] = 5.0
    assert one == study()
