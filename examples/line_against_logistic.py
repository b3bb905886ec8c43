"""A line against logistic regression: why one classifies badly and the other well.

    python examples/line_against_logistic.py

Fits both to labels 0 and 1, and answers 1 where the output is at least 0.5. Points far on
the right side of this threshold are easy. But a line is far above 1 there, and its squared
error large: such points turn the line, and the threshold moves into their class. A sigmoid
is near 1 there already, and stays where it is.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn.activations import identity, sigmoid
from fnn.data import Examples


class Fitted(NamedTuple):
    """w and b of z = w x + b, the x of output 0.5, the accuracy on near points."""

    w: float
    b: float
    threshold: float
    accuracy: float


KINDS = {
    "line": (fnn.losses.half_squared_error, identity),
    "logistic regression": (fnn.losses.binary_cross_entropy, sigmoid),
}


def examples(distant: int) -> Examples:
    """Return 20 points of either class, and more of class 1 far away, (n, 1) each."""
    near = np.linspace(-4, -0.2, 20), np.linspace(0.2, 4, 20)
    x = np.hstack([*near, np.linspace(14, 18, distant)]).astype(np.float32)
    return x[:, None], (x > 0).astype(np.float32)[:, None]


def fit(kind: str, data: Examples, epochs: int) -> Fitted:
    """Fit by batch gradient descent."""
    loss, output = KINDS[kind]
    x, labels = data
    model = fnn.Dense(1, kernel_init=fnn.initializers.zeros)
    params, _, _ = fnn.fit(
        model,
        loss,
        fnn.optimizers.Momentum(0.02, 0.95),
        data,
        key=jax.random.key(0),
        epochs=epochs,
        batch_size=len(x),
        progress=False,
    )
    w, b = float(params["kernel"][0, 0]), float(params["bias"][0])
    near = slice(0, 40)
    right = (output(fnn.batched(model)(params, x[near])) >= 0.5) == (labels[near] == 1)
    center = 0.5 if kind == "line" else 0.0  # where z makes an output of 0.5
    return Fitted(w, b, (center - b) / w, float(right.mean()))


def main(epochs: int = 1000, outputs: str = "outputs") -> dict[str, list[Fitted]]:
    """Return each kind, fitted without and with distant points."""
    sets = {"without distant points": examples(0), "with distant points": examples(20)}
    fitted = {kind: [fit(kind, data, epochs) for data in sets.values()] for kind in KINDS}
    for kind, pair in fitted.items():
        for name, (_, _, threshold, accuracy) in zip(sets, pair, strict=True):
            print(f"{kind:20} {name:23} threshold {threshold:5.2f}, {accuracy:4.0%} right")
    # Labels -1 and 1 with log(1 + exp(-y z)) are the same problem.
    z, y = jnp.float32(0.7), jnp.float32(1.0)
    losses = fnn.losses.binary_cross_entropy(z, y), fnn.losses.logistic(z, 2 * y - 1)
    print("loss of labels {{0, 1}} and of {{-1, 1}}: {:.4f}, {:.4f}".format(*losses))
    with fnn.plots.theme("light"):
        draw(sets, fitted, Path(outputs))
    return fitted


def draw(sets: dict[str, Examples], fitted: dict[str, list[Fitted]], folder: Path) -> None:
    """Draw points, outputs and thresholds, without and with distant points."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    colors = dict(zip(KINDS, ("#D55E00", "#0072B2"), strict=True))
    for i, (axes, (name, (x, labels))) in enumerate(zip(panels, sets.items(), strict=True)):
        axes.plot(x, labels, "o", color="0.5", markersize=5)
        axes.axhline(0.5, color="0.7", linewidth=0.8)
        grid = jnp.linspace(x.min() - 0.5, x.max() + 0.5, 400)
        for kind, pair in fitted.items():
            w, b, threshold, accuracy = pair[i]
            output = KINDS[kind][1]
            wrong = (np.asarray(output(jnp.asarray(w * x + b))) >= 0.5) != labels
            axes.plot(x[wrong], labels[wrong], "o", color=colors[kind], markersize=5)
            label = f"{kind}: {accuracy:.0%} of the near points right"
            axes.plot(grid, output(w * grid + b), color=colors[kind], label=label)
            axes.plot([threshold] * 2, [-0.1, 0.5], ":", color=colors[kind])
        axes.set(xlabel="x", ylim=(-0.1, 1.6), title=name)
        axes.set_yticks((0, 0.5, 1))
        axes.legend(loc="upper left", fontsize="small")
    panels[0].set_ylabel("output, label")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "line_against_logistic.png", dpi=115)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
