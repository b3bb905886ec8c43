"""Shared by the tests of pictures: a row for each function, and the axes' contents."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn import plots

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((12, 8, 8, 1))
LABELS = np.arange(12) % 4
TRIALS = {
    "learning rate": [1e-4, 1e-3, 1e-2, 1e-1],
    "width": [16, 64, 16, 64],
    "activation": ["relu", "tanh", "tanh", "relu"],
    "accuracy": [0.5, 0.9, 0.7, 0.8],
}
HISTORY = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, 1.5, 1.2]}
NAMES = [f"a rather long name {i}" for i in range(6)]


def nearest(points):
    """Classify by the nearer of two points, with probabilities."""
    logit = points.sum(1) - 1
    right = 1 / (1 + np.exp(-4 * logit))
    return np.stack([1 - right, right], 1)


def bowl(w):
    return jnp.sum(jnp.array([1.0, 10.0]) * w**2)


# A row for each public function: how to draw something into axes.
ROWS = {
    "activation": lambda axes: plots.activation(jax.nn.sigmoid, axes=axes),
    "band": lambda axes: plots.band(
        [0, 1, 2], [1, 2, 4], [0.1, 0.2, 0.4], label="ensemble", axes=axes
    ),
    "bars": lambda axes: plots.bars(
        {name: [0.9, 0.94, 0.95] for name in NAMES}, label="accuracy", axes=axes
    ),
    "confusion_matrix": lambda axes: plots.confusion_matrix(
        np.diag(range(6)) + 10, NAMES, axes=axes
    ),
    "decision_regions": lambda axes: plots.decision_regions(
        nearest, [[0, 0], [1, 1], [1, 0]], [0, 1, 1], names=NAMES[:2], axes=axes
    ),
    "feature_maps": lambda axes: plots.feature_maps(IMAGES[..., 0].T, axes=axes),
    "filters": lambda axes: plots.filters(IMAGES[..., 0] - 0.5, axes=axes),
    "gradient_norms": lambda axes: plots.gradient_norms(
        RANDOM.lognormal(size=200), clip=1.0, axes=axes
    ),
    "heat_map": lambda axes: plots.heat_map(
        TRIALS, "learning rate", "width", "accuracy", axes=axes
    ),
    "histograms": lambda axes: plots.histograms(
        {name: RANDOM.normal(size=50) for name in NAMES}, axes=axes
    ),
    "influence": lambda axes: plots.influence(
        IMAGES, RANDOM.normal(size=12), LABELS, axes=axes
    ),
    "learning_curve": lambda axes: plots.learning_curve(HISTORY, axes=axes),
    "learning_curves": lambda axes: plots.learning_curves(
        dict.fromkeys(NAMES, HISTORY), log=True, axes=axes
    ),
    "learning_rate_range": lambda axes: plots.learning_rate_range(
        np.geomspace(1e-5, 1, 20), np.linspace(3, 1, 20), suggested=0.01, axes=axes
    ),
    "misclassified": lambda axes: plots.misclassified(IMAGES, LABELS, LABELS**2, axes=axes),
    "parallel_coordinates": lambda axes: plots.parallel_coordinates(
        TRIALS, "accuracy", axes=axes
    ),
    "paths": lambda axes: plots.paths(
        bowl,
        {name: np.linspace(1, 0, 10)[:, None] * [1, i] for i, name in enumerate(NAMES)},
        low=-2,
        high=2,
        minimum=(0, 0),
        axes=axes,
    ),
    "schedules": lambda axes: plots.schedules(
        {name: fnn.schedules.CosineDecay(0.1, 100) for name in NAMES}, 100, axes=axes
    ),
    "signals": lambda axes: plots.signals(
        {name: 0.5 ** np.arange(6) for name in NAMES}, names=NAMES, axes=axes
    ),
    "signals_over_training": lambda axes: plots.signals_over_training(
        RANDOM.random((5, 6)), names=NAMES, label="norm of the gradient", axes=axes
    ),
    "surface": lambda axes: plots.surface(
        np.linspace(-1, 1, 5), np.linspace(-1, 1, 6), RANDOM.random((5, 6)), axes=axes
    ),
}


def draw(name, theme="light"):
    with plots.theme(theme):
        _, axes = plt.subplots(figsize=(6, 4))
        return ROWS[name](axes), axes


def texts(axes):
    """Return what is written into the axes, beside them, and by their legend."""
    return [text.get_text() for text in axes.texts]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(labels):
    return [label.get_text() for label in labels]
