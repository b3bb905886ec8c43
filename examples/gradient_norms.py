"""Which examples pull hardest: the norms of the gradients of single examples.

    python examples/gradient_norms.py

Gives about 5 % of the digits a wrong label and trains a perceptron on all. Before, their
gradients are about as long; afterwards those of most digits vanish, and the longest are of
digits with wrong labels. Clipping bounds them all, for privacy or against such outliers.
Draws the norms, and the digits with the longest gradients, into the folder `outputs`.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn import per_example

MODEL = fnn.models.mlp(128, 10)
CLIP = 1.0


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cross-entropy of one example."""
    return fnn.losses.softmax_cross_entropy(MODEL(params, x), y)


def main(epochs: int = 5, outputs: str = "outputs") -> tuple[Any, Any, Any]:
    """Return the norms before and after training, and which labels are wrong."""
    init_key, wrong_key, fit_key = jax.random.split(jax.random.key(0), 3)
    images, truth = fnn.data.digits()
    wrong = np.asarray(jax.random.bernoulli(wrong_key, 0.05, truth.shape))
    labels = np.where(wrong, (truth + 1 + np.arange(len(truth)) % 9) % 10, truth)
    start, _ = MODEL.init(init_key, images[0])
    trained, _, _ = fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.SGD(0.1),
        (images, labels),
        key=fit_key,
        epochs=epochs,
        batch_size=32,
        params=start,
        progress=False,
    )
    gradients = jax.jit(per_example.gradients(loss))
    before, after = (
        np.asarray(gradients(params, images, labels).norms()) for params in (start, trained)
    )
    first = np.argsort(-after)[: wrong.sum()]
    print(
        f"{wrong.sum()} of {len(labels)} labels are wrong ({wrong.mean():.1%}); of as many"
    )
    print(
        f"digits with the longest gradients, {wrong[first].mean():.1%} have a wrong label."
    )
    draw(before, after, (images, labels, wrong), Path(outputs))
    return before, after, wrong


def draw(before: Any, after: Any, examples: Any, folder: Path) -> None:
    """Draw the norms before and after training, and the digits whose are largest."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels, wrong = examples
    with fnn.plots.theme("light"):
        figure = plt.figure(figsize=(11, 3.8))
        parts: Any = figure.subfigures(1, 3)
        for part, norms, title in (parts[0], before, "before"), (parts[1], after, "after"):
            axes = part.subplots()
            fnn.plots.gradient_norms(norms, clip=CLIP, axes=axes)
            axes.set(title=f"{title} training", xlim=(0, after.max()))
            axes.margins(y=0.25)
        parts[2].suptitle("longest: wrong labels in orange", fontsize="medium")
        for axes, i in zip(parts[2].subplots(3, 4).flat, np.argsort(-after), strict=False):
            axes.imshow(images[i, ..., 0], cmap="gray_r")
            axes.set_title(f"“{labels[i]}”", color="#D55E00" if wrong[i] else "black")
            axes.axis("off")
        figure.savefig(folder / "gradient_norms.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'gradient_norms.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
