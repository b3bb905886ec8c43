"""Rosenblatt's perceptron: what its learning rule learns, and what it can't.

    python examples/perceptron.py

Learns AND and OR, fails at XOR, which no line separates, and tells three classes of points
apart. The rule, with labels y and outputs ŷ that are 0 or 1, is

    w ← w + η (y - ŷ) x

It is gradient descent, one example at a time, on a loss whose gradient is -(y - ŷ) x: a
`Dense` layer, that loss, and `SGD(η)`. (The course prints w + ŷ x, which corrects nothing.)
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
TRUTH = {
    "AND": np.array([[0], [0], [0], [1]], np.float32),
    "OR": np.array([[0], [1], [1], [1]], np.float32),
    "XOR": np.array([[0], [1], [1], [0]], np.float32),
}


class Learned(NamedTuple):
    """Weights, (features, units), thresholds' negatives, (units,), and accuracy."""

    weights: np.ndarray
    bias: np.ndarray
    accuracy: float


def fires(scores: jax.Array) -> jax.Array:
    """Return ŷ, (units,), for one unit a step, for several a one-hot of the largest."""
    if scores.shape == (1,):
        return (scores >= 0).astype(scores.dtype)
    return jax.nn.one_hot(jnp.argmax(scores), len(scores), dtype=scores.dtype)


def perceptron_loss(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Return Σₖ (ŷₖ - yₖ) zₖ, whose gradient in w, where z = w x + b, is -(y - ŷ) x.

    Args:
        scores: z, (units,).
        labels: y, (units,), of zeros and ones.
    """
    mistakes = jax.lax.stop_gradient(fires(scores)) - labels
    return jnp.sum(mistakes * scores)


def correct(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Return 1 where all units answer right, else 0, ()."""
    return jnp.all(fires(scores) == labels).astype(scores.dtype)


def learn(x: np.ndarray, y: np.ndarray, epochs: int, seed: int = 0) -> Learned:
    """Show every example once in each epoch, correcting after each.

    Args:
        x: Inputs, (examples, features).
        y: Labels of zeros and ones, (examples, units); one-hot for several classes.
        epochs: How often.
        seed: Of the order of the examples.
    """
    half = fnn.initializers.Constant(-0.5)  # so no corner is on a border
    model = fnn.Dense(y.shape[1], kernel_init=fnn.initializers.zeros, bias_init=half)
    params, state, _ = fnn.fit(
        model,
        perceptron_loss,
        fnn.optimizers.SGD(1.0),
        (x, y),
        key=jax.random.key(seed),
        epochs=epochs,
        batch_size=1,
        progress=False,
    )
    accuracy = fnn.evaluate(model, params, state, (x, y), {"accuracy": correct})["accuracy"]
    return Learned(np.asarray(params["kernel"]), np.asarray(params["bias"]), accuracy)


def main(epochs: int = 32, outputs: str = "outputs") -> dict[str, Learned]:
    """Learn everything, print and draw it, and return it by name."""
    data = {name: (INPUTS, truth) for name, truth in TRUTH.items()}
    points, classes = fnn.data.blobs(150, key=jax.random.key(0), noise=0.2)
    data["three classes"] = points, np.eye(3, dtype=np.float32)[classes]  # one-hot
    learned = {name: learn(*examples, epochs) for name, examples in data.items()}
    for name, (weights, bias, accuracy) in learned.items():
        print(f"{name:>13}: {accuracy:4.0%} right, w {weights.T.tolist()}, b {bias}")
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
    for panel, (name, (x, y)) in zip(axes, data.items(), strict=True):
        draw(learned[name], x, y, panel)
        panel.set(title=f"{name}: {learned[name].accuracy:.0%} right", xlabel="", ylabel="")
    for panel in axes[:3]:
        panel.set(xticks=(0, 1), yticks=(0, 1))
        panel.get_legend().remove()
    Path(outputs).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(outputs) / "perceptron.png", dpi=100)
    plt.close(figure)
    return learned


def draw(learned: Learned, x: np.ndarray, y: np.ndarray, axes: Any) -> None:
    """Draw which unit fires where; one unit fires or does not."""

    def predict(points: np.ndarray) -> np.ndarray:
        scores = points @ learned.weights + learned.bias
        return scores.argmax(1) if y.shape[1] > 1 else (scores[:, 0] >= 0).astype(int)

    labels = y.argmax(1) if y.shape[1] > 1 else y[:, 0].astype(int)
    fnn.plots.decision_regions(predict, x, labels, axes=axes)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
