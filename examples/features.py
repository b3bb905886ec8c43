"""The features of hidden units: weights, filters and feature maps as pictures.

    python examples/features.py [--data FOLDER]

Learns digits by two networks, or MNIST, where FOLDER has its four files. The weights of
each hidden unit of a perceptron are an image: bright where ink excites the unit, and so
are the filters of a convolutional network; its feature maps show where each of them found
its pattern. A confusion matrix, and the digits that were misread, show what is still hard.
Writes two pictures into `outputs`.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt

import fnn
from fnn.data import Examples

MLP = fnn.models.mlp(16, 10)
FEATURES = fnn.Sequential(fnn.Conv(16, (5, 5), padding="same"), jax.nn.relu)
HEAD = fnn.Sequential(
    fnn.MaxPool((2, 2)), fnn.Flatten(), fnn.Dropout(0.5), fnn.models.mlp(64, 10)
)
CNN = fnn.Sequential(features=FEATURES, head=HEAD)


class Seen(NamedTuple):
    """The pictures, and the accuracy of the networks."""

    weights: jax.Array  # of the perceptron's hidden units, (units, height, width)
    filters: jax.Array  # of the convolution, (height, width, 1, channels)
    maps: jax.Array  # what they find in a digit, (height, width, channels)
    confusion: jax.Array  # by the convolutional network, of test images
    accuracies: dict[str, float]


def main(
    data: str | None = None,
    epochs: int = 10,
    images: int = 10_000,
    outputs: str = "outputs",
) -> Seen:
    """Train, look inside and draw."""
    digits = fnn.data.split(fnn.data.digits(), (0.8, 0.2), key=jax.random.key(0))
    train, test = fnn.data.mnist(data) if data else digits
    train = jax.tree.map(lambda a: a[:images], train)
    x, y = jax.tree.map(jnp.asarray, test)
    mlp, cnn = (fit(model, train, epochs) for model in (MLP, CNN))
    guesses = {
        "perceptron": jax.jit(fnn.batched(MLP))(mlp, x).argmax(1),
        "convolutional": jax.jit(fnn.batched(CNN))(cnn, x).argmax(1),
    }
    guess = guesses["convolutional"]
    height, width, _ = x[0].shape
    seen = Seen(
        weights=mlp["dense_0"]["kernel"].T.reshape(-1, height, width),
        filters=cnn["features"]["conv_0"]["kernel"],
        maps=FEATURES(cnn["features"], x[0]),
        confusion=fnn.metrics.confusion_matrix(guess, y, 10),
        accuracies={name: float((g == y).mean()) for name, g in guesses.items()},
    )
    for name, accuracy in seen.accuracies.items():
        print(f"{name:14} test accuracy {accuracy:.1%}")
    draw_features(seen, Path(outputs))
    draw_mistakes(seen, (x, y), guess, Path(outputs))
    return seen


def fit(model: fnn.Layer, train: Examples, epochs: int) -> Any:
    """Return the parameters of a network, trained with a penalty for smooth weights."""
    params, _, _ = fnn.fit(
        model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(fnn.schedules.CosineDecay(3e-3, epochs * len(train[1]) // 64)),
        train,
        key=jax.random.key(1),
        epochs=epochs,
        batch_size=64,
        regularizer=fnn.regularizers.L2(1e-3),
        progress=False,
    )
    return params


def draw_features(seen: Seen, folder: Path) -> None:
    """Draw the weights, the filters, and what these find in an image."""
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, (left, center, right) = plt.subplots(1, 3, figsize=(11, 3.6))
        fnn.plots.filters(seen.weights, columns=4, axes=left)
        left.set_title("hidden units of a perceptron")
        fnn.plots.filters(seen.filters, columns=4, axes=center)
        center.set_title("filters of a convolution")
        fnn.plots.feature_maps(seen.maps, columns=4, axes=right)
        right.set_title("what they find in a digit")
        figure.savefig(folder / "features.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'features.png'}")


def draw_mistakes(seen: Seen, test: Any, guesses: jax.Array, folder: Path) -> None:
    """Draw the confusion matrix and what was misread."""
    with fnn.plots.theme("light"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4))
        fnn.plots.confusion_matrix(seen.confusion, axes=left)
        fnn.plots.misclassified(test[0], test[1], guesses, axes=right)
        figure.savefig(folder / "mistakes.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'mistakes.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", help="folder with the MNIST files; digits by default")
    parser.add_argument("--outputs", default="outputs", help="folder for the pictures")
    main(**vars(parser.parse_args()))
