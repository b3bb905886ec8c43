"""Learn to read handwritten digits, from the images that scikit-learn bundles.

    python examples/digits.py

Prints the model, a progress bar and the accuracy on images that training never saw, and
writes two pictures into the folder `outputs`.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt

import fnn
from fnn.data import Examples

MODEL = fnn.Sequential(
    fnn.Flatten(),
    fnn.Dropout(0.1),
    fnn.Dense(256),
    jax.nn.relu,
    fnn.Dropout(0.5),
    fnn.Dense(256),
    jax.nn.relu,
    fnn.Dropout(0.5),
    fnn.Dense(10),
)


def main(epochs: int = 60, seed: int = 0, outputs: str = "outputs") -> float:
    """Train, report and draw; return the accuracy on the test images."""
    split_key, fit_key = jax.random.split(jax.random.key(seed))
    images, labels = fnn.data.digits()
    train, validation, test = fnn.data.split(
        (images, labels), (0.7, 0.15, 0.15), key=split_key, stratify=labels
    )
    print(fnn.summary(MODEL, images[0]), "\n")

    accuracy = {"accuracy": fnn.metrics.accuracy}
    params, state, history = fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(fnn.schedules.InverseTimeDecay(3e-3, 1.0, period=500)),
        train,
        key=fit_key,
        epochs=epochs,
        batch_size=32,
        validation=validation,
        metrics=accuracy,
    )
    score = fnn.evaluate(MODEL, params, state, test, accuracy)["accuracy"]
    logits = fnn.batched(MODEL)(params, jnp.asarray(test[0]))
    print(f"\ntest accuracy: {score:.2%} of {len(test[1])} images")

    folder = Path(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    draw_curves(history, folder / "digits_learning_curves.png")
    draw_mistakes(test, logits.argmax(1), folder / "digits_misclassified.png")
    return score


def draw_curves(history: fnn.training.History, path: Path) -> None:
    """Draw loss and accuracy over the epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    fnn.plots.learning_curve(history, "loss", axes=left)
    fnn.plots.learning_curve(history, "accuracy", axes=right)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path}")


def draw_mistakes(test: Examples, predictions: jax.Array, path: Path) -> None:
    """Draw the digits that the network got wrong."""
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    fnn.plots.misclassified(*test, predictions, axes=axes)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    main()
