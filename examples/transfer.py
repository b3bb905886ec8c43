"""Transfer learning: what was learned of the digits 0 to 4 helps with 5 to 9.

    python examples/transfer.py --data FOLDER

FOLDER has the four IDX files of MNIST, compressed by gzip or not. A small convolutional
network learns the digits 0 to 4. Its head is cut off, and a new one learns the digits 5 to
9 from a few labels: on the old body, frozen; on the old body, tuned at a tenth of the rate;
and, to compare, on a new body, all trained from scratch.
"""

import argparse

import jax
import numpy as np

import fnn
from fnn.data import Examples
from fnn.optimizers import Adam, ByPath, Frozen

BODY = fnn.Sequential(
    fnn.Conv(16, (5, 5)),
    jax.nn.relu,
    fnn.MaxPool((2, 2)),
    fnn.Conv(32, (5, 5)),
    jax.nn.relu,
    fnn.MaxPool((2, 2)),
    fnn.Flatten(),
    fnn.Dropout(0.3),
)
MODEL = fnn.Sequential(body=BODY, head=fnn.Dense(5))
OPTIMIZERS = {
    "frozen": ByPath({"body/*": Frozen(), "head/*": Adam(3e-3)}),
    "tuned": ByPath({"body/*": Adam(3e-4), "head/*": Adam(3e-3)}),
    "scratch": Adam(2e-3),
}
ACCURACY = {"accuracy": fnn.metrics.accuracy}


def main(
    data: str,
    labels_per_class: tuple[int, ...] = (1, 2, 5, 10),
    seeds: tuple[int, ...] = (0, 1, 2),
    source_images: int = 6000,
) -> dict[int, dict[str, float]]:
    """Return the test accuracies, means over the seeds, by number of labels."""
    train, test = fnn.data.mnist(data)
    runs = [one_run(train, test, labels_per_class, seed, source_images) for seed in seeds]
    print("labels per class   " + "   ".join(f"{name:>8}" for name in OPTIMIZERS))
    results = {}
    for count in labels_per_class:
        results[count] = {
            name: float(np.mean([run[count][name] for run in runs])) for name in OPTIMIZERS
        }
        row = "   ".join(f"{score:8.1%}" for score in results[count].values())
        print(f"{count:16}   {row}")
    return results


def one_run(
    train: Examples, test: Examples, counts: tuple[int, ...], seed: int, source_images: int
) -> dict[int, dict[str, float]]:
    """Learn the digits 0 to 4, then 5 to 9 from so many labels per class."""
    order_key, source_key, head_key, target_key = jax.random.split(jax.random.key(seed), 4)
    images, labels = train
    order = np.asarray(fnn.data.permutation(order_key, len(labels)))
    low, high = order[labels[order] < 5], order[labels[order] >= 5]
    chosen = low[:source_images]
    source = images[chosen], labels[chosen]
    target = images[high], labels[high] - 5
    is_high = test[1] >= 5
    unseen = test[0][is_high], test[1][is_high] - 5
    params, _, _ = fit(source, Adam(2e-3), source_key, epochs=4)
    new, _ = MODEL.init(head_key, images[0])
    transferred = {"body": params["body"], "head": new["head"]}
    results: dict[int, dict[str, float]] = {}
    for count in counts:
        few = first_of_each_class(target, count)
        results[count] = {}
        for name, optimizer in OPTIMIZERS.items():
            start = new if name == "scratch" else transferred
            key = jax.random.fold_in(target_key, count)  # the same for all three
            params, state, _ = fit(few, optimizer, key, epochs=60, params=start)
            score = fnn.evaluate(MODEL, params, state, unseen, ACCURACY)
            results[count][name] = score["accuracy"]
            if name == "frozen":
                jax.tree.map(np.testing.assert_array_equal, params["body"], start["body"])
    return results


def fit(
    data: Examples,
    optimizer: fnn.optimizers.Optimizer,
    key: jax.Array,
    epochs: int,
    params: fnn.types.Params | None = None,
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
    images, labels = data
    rows = np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(5)])
    return images[rows], labels[rows]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    main(parser.parse_args().data)
