"""Errors of pictures, raised before anything is drawn."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from contracts.pictures import HISTORY, IMAGES, LABELS, ROWS, TRIALS, bowl, nearest

from fnn import plots

X = [[0.0, 0.0], [1.0, 1.0]]
BAD = {
    "activation, low": (lambda: plots.activation(jnp.tanh, low=2, high=1), "high must be"),
    "activation": (
        lambda: plots.activation(lambda x: jnp.stack([x, x])),
        r"function must map a number to a number, got float32\[2\]",
    ),
    "band": (
        lambda: plots.band([0, 1], [0, 1], [1]),
        r"deviation .* \(2,\), got int64\[1\]",
    ),
    "band, sign": (
        lambda: plots.band([0], [0], [-1]),
        "deviation must be at least 0, got -1",
    ),
    "bars": (lambda: plots.bars({}, label="x"), "values must map at least one name"),
    "bars, text": (
        lambda: plots.bars({"a": "b"}, label="x"),
        "values must be real numbers",
    ),
    "confusion_matrix": (
        lambda: plots.confusion_matrix(np.zeros((2, 3))),
        r"matrix must .* \(2, 2\), got float64\[2,3\]",
    ),
    "confusion_matrix, names": (
        lambda: plots.confusion_matrix(np.eye(2), ["a"]),
        "one for each of 2 classes, got 1",
    ),
    "decision_regions": (
        lambda: plots.decision_regions(lambda x: x[:, 0], X, [0, 1]),
        r"predict must .* \(points, 2 or more\), got float64\[40000\]",
    ),
    "decision_regions, labels": (
        lambda: plots.decision_regions(nearest, X, [-1, 1]),
        "labels must be classes from 0, got -1 to 1",
    ),
    "decision_regions, length": (
        lambda: plots.decision_regions(nearest, X, [0, 1, 1]),
        "as many examples",
    ),
    "feature_maps": (
        lambda: plots.feature_maps(np.ones(3)),
        "maps must .*height, width, c",
    ),
    "filters": (lambda: plots.filters(np.ones((2, 2))), "kernels must .*units, height, w"),
    "filters, columns": (lambda: plots.filters(np.ones((2, 2, 2)), columns=-1), "columns"),
    "gradient_norms": (
        lambda: plots.gradient_norms([-1.0]),
        "norms must be finite and at least 0",
    ),
    "gradient_norms, clip": (lambda: plots.gradient_norms([1.0], clip=0), "clip must be"),
    "heat_map": (lambda: plots.heat_map(TRIALS, "width", "b", "accuracy"), "table .*'b'"),
    "heat_map, lengths": (
        lambda: plots.heat_map({"a": [1], "b": [1, 2], "c": [1]}, "a", "b", "c"),
        r"columns of equal length above 0, got \{'a': 1, 'b': 2, 'c': 1\}",
    ),
    "histograms": (lambda: plots.histograms({"a": []}), "values must be real numbers"),
    "influence, images": (
        lambda: plots.influence(np.ones((2, 64)), [1.0, 2.0], [0, 1]),
        r"images must be \(examples, height, width\) .* got float64\[2,64\]",
    ),
    "misclassified, images": (
        lambda: plots.misclassified(255 * np.eye(4)[None], [0], [1]),
        "images must be from 0 to 1, got 0.0 to 255.0",
    ),
    "influence": (lambda: plots.influence(IMAGES, [1.0], LABELS), "as many examples"),
    "learning_curve": (lambda: plots.learning_curve({"loss": 1.0}), "loss of the history"),
    "learning_curves": (lambda: plots.learning_curves({"a": HISTORY}, "b"), "one of"),
    "learning_rate_range": (
        lambda: plots.learning_rate_range([0, 1], [1, 1]),
        "rates must be above 0, got 0.0 to 1.0",
    ),
    "misclassified": (
        lambda: plots.misclassified(IMAGES, LABELS, LABELS, limit=0),
        "limit",
    ),
    "parallel_coordinates": (
        lambda: plots.parallel_coordinates({"a": [1], "b": [np.nan]}, "b"),
        "column 'b' of table must have a finite score",
    ),
    "parallel_coordinates, best": (
        lambda: plots.parallel_coordinates(TRIALS, "accuracy", best="most"),
        "best must be one of",
    ),
    "paths": (
        lambda: plots.paths(bowl, {"a": [1, 2]}, low=-1, high=1),
        r"paths must be real numbers of shape \(steps, 2\)",
    ),
    "paths, function": (
        lambda: plots.paths(lambda w: jnp.log(w[0]), {"a": X}, low=-1, high=1),
        r"function must map .* got shape \(\) and 50% finite",
    ),
    "paths, corners": (lambda: plots.paths(bowl, {"a": X}, low=1, high=0), "high must be"),
    "paths, corner": (
        lambda: plots.paths(bowl, {"a": X}, low=[1, 2, 3], high=0),
        r"low must be real numbers of shape \(2,\), got int64\[3\]",
    ),
    "schedules": (lambda: plots.schedules({}, 3), "schedules must map at least one name"),
    "schedules, steps": (lambda: plots.schedules({"a": jnp.sin}, 0), "steps must be"),
    "signals": (
        lambda: plots.signals({"a": [1.0, -1.0]}),
        "values must be at least 0 where log=True, got -1.0 to 1.0",
    ),
    "signals_over_training": (
        lambda: plots.signals_over_training(np.ones((2, 3)), names=["a"]),
        "one for each of 3 layers, got 1",
    ),
    "signals, zeros": (
        lambda: plots.signals({"a": [0.0]}),
        "values must have a finite number above 0 where log=True",
    ),
    "surface, log": (
        lambda: plots.surface([0], [0, 1], [[0, 1]], log=True),
        "losses must be finite, and above 0",
    ),
    "surface": (lambda: plots.surface([0, 1], [0], [[1, 1]]), r"losses .* \(2, 1\)"),
    "theme": (lambda: plots.theme("grey"), "name must be one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_before_anything_is_drawn(name):
    call, message = BAD[name]
    plt.close("all")
    with pytest.raises(ValueError, match=message):
        call()
    assert not plt.get_fignums()


def test_each_function_says_what_is_bad():
    assert {name.split(",")[0] for name in BAD} - {"theme"} == set(ROWS)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'fnn\[plots\]'"):
        plots.learning_curve(HISTORY)
