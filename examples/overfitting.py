"""Overfit on purpose, then cure it: what each regularizer does.

    python examples/overfitting.py

A perceptron with two hidden layers of 256 units learns 200 digits by heart, though 30 % of
them have a wrong label: its training loss goes to 0 while the loss on digits never seen
rises. Each cure changes one thing: a penalty on the weights, dropout, noise, shifted
copies, early stopping, batch normalization, a smaller network, or five times the data.
Draws learning curves and the accuracy on 697 test digits, for every seed, into the folder
`outputs`.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn.regularizers import L1, L2

WRONG = 0.3  # the share of wrong labels
MODEL = fnn.models.mlp(256, 256, 10)
NORMALIZED = fnn.Sequential(
    fnn.Flatten(),
    *(fnn.Dense(256, bias=False), fnn.BatchNorm(), jax.nn.relu),
    *(fnn.Dense(256, bias=False), fnn.BatchNorm(), jax.nn.relu),
    fnn.Dense(10),
)


class Setting(NamedTuple):
    """How to train."""

    examples: int = 200
    model: fnn.Layer = MODEL
    regularizer: Any = None
    augment: Any = None
    early_stopping: fnn.EarlyStopping | None = None


SETTINGS = {
    "no cure": Setting(),
    "L2 penalty": Setting(regularizer=L2(1e-2)),
    "L1 penalty": Setting(regularizer=L1(1e-3)),
    "dropout": Setting(model=fnn.models.mlp(256, 256, 10, dropout=0.5)),
    "noise on inputs": Setting(augment=fnn.data.AddNoise(0.5)),
    "shifted copies": Setting(augment=fnn.data.RandomShift(1)),
    "early stopping": Setting(early_stopping=fnn.EarlyStopping(patience=5)),
    "batch normalization": Setting(model=NORMALIZED),
    "smaller network": Setting(model=fnn.models.mlp(32, 10)),
    "five times the data": Setting(examples=1000),
}


def main(
    settings: Mapping[str, Setting] = SETTINGS,
    epochs: int = 100,
    seeds: Sequence[int] = (0, 1, 2),
    outputs: str = "outputs",
) -> dict[str, list[float]]:
    """Return the test accuracies of each setting, one for each seed."""
    accuracies: dict[str, list[float]] = {}
    histories = {}
    for name, setting in settings.items():
        runs = [run(setting, epochs, seed) for seed in seeds]
        accuracies[name] = [accuracy for accuracy, _ in runs]
        histories[name] = runs[0][1]
        print(f"{name:20} test accuracy {np.mean(accuracies[name]):.1%}")
    draw(histories, accuracies, Path(outputs))
    return accuracies


def run(setting: Setting, epochs: int, seed: int) -> tuple[float, fnn.training.History]:
    """Train; return the test accuracy and the history."""
    split_key, wrong_key, fit_key = jax.random.split(jax.random.key(seed), 3)
    images, labels = fnn.data.digits()
    train, validation, test = fnn.data.split(
        (images, labels), (1000, 100, 697), key=split_key, stratify=labels
    )
    x, y = jax.tree.map(lambda a: a[: setting.examples], train)
    wrong = np.asarray(jax.random.permutation(wrong_key, len(y))) < WRONG * len(y)
    y = np.where(wrong, (y + 1 + np.arange(len(y)) % 9) % 10, y)
    params, state, history = fnn.fit(
        setting.model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(1e-3),
        (x, y),
        key=fit_key,
        epochs=epochs,
        batch_size=20,
        validation=validation,
        regularizer=setting.regularizer,
        augment=setting.augment,
        early_stopping=setting.early_stopping,
        progress=False,
    )
    accuracy = {"accuracy": fnn.metrics.accuracy}
    return fnn.evaluate(setting.model, params, state, test, accuracy)["accuracy"], history


def draw(
    histories: Mapping[str, fnn.training.History],
    accuracies: Mapping[str, Sequence[float]],
    folder: Path,
) -> None:
    """Draw the learning curves of the first setting and of the best, and all accuracies."""
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, panels = plt.subplots(1, 3, figsize=(11, 3.8))
        best = max(accuracies, key=lambda name: np.mean(accuracies[name]))
        for axes, name in zip(panels, (next(iter(histories)), best), strict=False):
            fnn.plots.learning_curve(histories[name], axes=axes)
            axes.set(title=name, ylim=(0, 2.5))
        fnn.plots.bars(accuracies, label="test accuracy", axes=panels[-1])
        figure.savefig(folder / "overfitting.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'overfitting.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
