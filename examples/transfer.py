"""Transfer learning: what was learned of the digits 0 to 4 helps with 5 to 9.

    python examples/transfer.py --data FOLDER

FOLDER has the four IDX files of MNIST. A small convolutional network learns the digits 0 to
4. Its head is cut off, and a new one learns 5 to 9 from a few labels: on the old body,
frozen or tuned at a tenth of the rate; or from scratch. Draws a picture into `outputs`.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn.data import Examples
from fnn.optimizers import Adam, ByPath, Frozen

BODY = fnn.Sequential(
    *(fnn.Conv(16, (5, 5)), jax.nn.relu, fnn.MaxPool((2, 2))),
    *(fnn.Conv(32, (5, 5)), jax.nn.relu, fnn.MaxPool((2, 2))),
    fnn.Flatten(),
    fnn.Dropout(0.3),
)
MODEL = fnn.Sequential(body=BODY, head=fnn.Dense(5))
OPTIMIZERS = {
    "frozen body": ByPath({"body/*": Frozen(), "head/*": Adam(3e-3)}),
    "tuned body": ByPath({"body/*": Adam(3e-4), "head/*": Adam(3e-3)}),
    "from scratch": Adam(2e-3),
}
ACCURACY = {"accuracy": fnn.metrics.accuracy}


def main(
    data: str,
    labels_per_class: tuple[int, ...] = (1, 2, 5, 10),
    seeds: tuple[int, ...] = (0, 1, 2),
    source_images: int = 6000,
    outputs: str = "outputs",
) -> dict[int, dict[str, list[float]]]:
    """Return the test accuracies, one for each seed, by number of labels."""
    sets = fnn.data.mnist(data)
    runs = [one_run(*sets, labels_per_class, seed, source_images) for seed in seeds]
    print("labels per class   " + "   ".join(f"{name:>12}" for name in OPTIMIZERS))
    results = {}
    for count in labels_per_class:
        results[count] = {name: [run[count][name] for run in runs] for name in OPTIMIZERS}
        means = [f"{np.mean(values):12.1%}" for values in results[count].values()]
        print(f"{count:16}   " + "   ".join(means))
    draw(results, Path(outputs))
    return results


def one_run(
    train: Examples, test: Examples, counts: tuple[int, ...], seed: int, source_images: int
) -> dict[int, dict[str, float]]:
    """Learn the digits 0 to 4, then 5 to 9 from a few labels per class."""
    order_key, source_key, head_key, target_key = jax.random.split(jax.random.key(seed), 4)
    images, labels = train
    order = np.asarray(fnn.data.permutation(order_key, len(labels)))
    low, high = order[labels[order] < 5], order[labels[order] >= 5]
    source = images[low[:source_images]], labels[low[:source_images]]
    target = images[high], labels[high] - 5
    unseen = test[0][test[1] >= 5], test[1][test[1] >= 5] - 5
    learned = fit(source, Adam(2e-3), source_key, epochs=4).params
    new, _ = MODEL.init(head_key, images[0])
    transferred = learned | {"head": new["head"]}
    results: dict[int, dict[str, float]] = {count: {} for count in counts}
    for count in counts:
        few = first_of_each_class(target, count)
        for name, optimizer in OPTIMIZERS.items():
            start = new if name == "from scratch" else transferred
            key = jax.random.fold_in(target_key, count)  # the same for all three
            params, state, _ = fit(few, optimizer, key, epochs=60, params=start)
            scores = fnn.evaluate(
                MODEL, params, state, unseen, {"accuracy": fnn.metrics.accuracy}
            )
            results[count][name] = scores["accuracy"]
    return results


def fit(
    data: Examples, optimizer: Any, key: jax.Array, epochs: int, params: Any = None
) -> fnn.training.FitResult:
    """Train in batches of up to 32 images, shifted at random where they are many."""
    return fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        optimizer,
        data,
        key=key,
        epochs=epochs,
        batch_size=min(32, len(data[1])),
        augment=None if params else fnn.data.RandomShift(1),
        params=params,
        progress=False,
    )


def first_of_each_class(data: Examples, count: int) -> Examples:
    """Return `count` examples of every class."""
    rows = np.concatenate([np.flatnonzero(data[1] == c)[:count] for c in range(5)])
    return data[0][rows], data[1][rows]


def draw(results: Mapping[int, Mapping[str, list[float]]], folder: Path) -> None:
    """Draw the accuracies, means and deviations over the seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, axes = plt.subplots(figsize=(6.5, 4))
        for name in OPTIMIZERS:
            runs = np.array([by_name[name] for by_name in results.values()])
            fnn.plots.band(list(results), runs.mean(1), runs.std(1), label=name, axes=axes)
        axes.set(xlabel="labels per class", ylabel="test accuracy", xticks=list(results))
        figure.savefig(folder / "transfer.png", dpi=120)
        plt.close(figure)
    print(f"wrote {folder / 'transfer.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(**vars(parser.parse_args()))
