"""Rosenblatt's perceptron: what its learning rule learns, and what it can't.

    python examples/perceptron.py

Learns AND and OR, fails at XOR, which no line separates, and tells three classes of points
apart. The rule, with labels y and outputs ŷ that are 0 or 1, is

    w ← w + η (y - ŷ) x

It is gradient descent, one example at a time, on a loss whose gradient is -(y - ŷ) x. So it
needs nothing of its own: a `Dense` layer, that loss, and `SGD(η)`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
TRUTH = {
    "AND": np.array([[0], [0], [0], [1]], np.float32),
    "OR": np.array([[0], [1], [1], [1]], np.float32),
    "XOR": np.array([[0], [1], [1], [0]], np.float32),
}
CENTERS = np.array([[0, 3], [3, -2], [-3, -2]], np.float32)


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
    zeros = fnn.initializers.zeros
    model = fnn.Dense(y.shape[1], kernel_init=zeros)
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


def three_classes(examples: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points around three centers, (examples, 2), and one-hot labels."""
    rng = np.random.default_rng(seed)
    classes = np.arange(examples) % len(CENTERS)
    points = CENTERS[classes] + rng.normal(scale=0.6, size=(examples, 2))
    return points.astype(np.float32), np.eye(len(CENTERS), dtype=np.float32)[classes]


def main(epochs: int = 30) -> dict[str, Learned]:
    """Learn everything, print it, and return it by name."""
    learned = {name: learn(INPUTS, truth, epochs) for name, truth in TRUTH.items()}
    learned["three classes"] = learn(*three_classes(), epochs)
    for name, (weights, bias, accuracy) in learned.items():
        print(
            f"{name:>13}: {accuracy:4.0%} right; weights {weights.T.tolist()}, bias {bias}"
        )
    return learned


if __name__ == "__main__":
    main()
