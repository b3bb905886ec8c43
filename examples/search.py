"""Find a learning rate, a dropout rate and a width for the network of `digits.py`.

    python examples/search.py [--outputs FOLDER]

Successive halving: 48 settings train for 3 epochs, the best third of them for 9 in all, the
best third of these for 27. Settings that differ in their rates train together, in one
compiled call for each width. The best setting then trains as long as the network of
`digits.py`, and both are judged on held-out images, by the mean over five seeds.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn import search
from fnn.types import Array, Key

SPACE = {
    "learning_rate": search.LogUniform(3e-4, 3e-2),
    "dropout": search.Uniform(0.0, 0.7),
    "width": search.Choice((64, 256)),
}
BY_HAND = {"learning_rate": 3e-3, "dropout": 0.5, "width": 256}
ACCURACY = {"accuracy": fnn.metrics.accuracy}


def setup(values: dict[str, Any]) -> tuple[Any, Any]:
    """Return the objective and the optimizer of a setting."""
    width, rate = values["width"], values["dropout"]
    model = fnn.Sequential(
        fnn.Flatten(),
        fnn.Dropout(0.1),
        fnn.Dense(width),
        jax.nn.relu,
        fnn.Dropout(rate),
        fnn.Dense(width),
        jax.nn.relu,
        fnn.Dropout(rate),
        fnn.Dense(10),
    )
    schedule = fnn.schedules.InverseTimeDecay(values["learning_rate"], 1.0, period=500)
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy, metrics=ACCURACY)
    return objective, fnn.optimizers.Adam(schedule)


def main(
    trials: int = 48,
    epochs: int = 27,
    final_epochs: int = 60,
    seeds: int = 5,
    outputs: str = "outputs",
) -> dict[str, float]:
    """Search, report and draw; return the test accuracy found, and that by hand."""
    split_key, search_key, test_key = jax.random.split(jax.random.key(0), 3)
    images, labels = fnn.data.digits()
    train, validation, test = fnn.data.split(
        (images, labels), (0.7, 0.15, 0.15), key=split_key, stratify=labels
    )
    began = time.perf_counter()
    study = search.Study(setup, train, validation, epochs=epochs, batch_size=32)
    results = study.halving(SPACE, trials, key=search_key, least=3)
    print(f"{results}\n\n{time.perf_counter() - began:.1f} s for the search")
    best = {name: results.best[name] for name in SPACE}
    keys = jax.random.split(test_key, seeds)
    scores = {
        name: judged(setting, jax.random.clone(keys), train, test, final_epochs)
        for name, setting in (("found", best), ("by hand", BY_HAND))
    }
    for name, score in scores.items():
        print(f"{name:8} {score:.2%} of the test images, mean of {seeds} seeds")
    draw(results, Path(outputs))
    return scores


def judged(setting: dict[str, Any], keys: Key, train: Any, test: Any, epochs: int) -> float:
    """Return the mean accuracy on the test images over networks of several keys."""
    objective, optimizer = setup(setting)

    @jax.jit
    @jax.vmap
    def accuracy(key: Key) -> Array:
        _, history = fnn.train(
            objective,
            optimizer,
            train,
            key=key,
            epochs=epochs,
            batch_size=32,
            validation=test,
        )
        return history["val_accuracy"][-1]

    return float(np.mean(accuracy(keys)))


def draw(results: search.Results, folder: Path) -> None:
    """Draw each trial as a line through its values."""
    columns = results.columns
    table = {name: columns[name] for name in (*SPACE, "epochs")}
    table["validation loss"] = columns["val_loss"]
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    fnn.plots.parallel_coordinates(table, "validation loss", best="lowest", axes=axes)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "search.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs")
    mpl.use("agg")  # pictures go to files, so no screen is needed
    main(outputs=parser.parse_args().outputs)
