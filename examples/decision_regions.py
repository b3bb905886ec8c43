"""The power of depth and width: decision regions, and any curve from enough units.

    python examples/decision_regions.py

Without a hidden layer the border of two classes is a line. So it is with a chain of linear
layers, which collapses into one: x W₁ W₂ W₃ = x (W₁ W₂ W₃). A hidden layer with an
activation bends the border, more with every unit; with enough of them it comes as close as
one likes to any continuous function on a bounded set (universal approximation).

Source: Cybenko 1989, "Approximation by superpositions of a sigmoidal function".
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn.activations import identity, tanh
from fnn.models import mlp

DEPTHS = {
    "no hidden layer": mlp(2),
    "chain of 3 linear layers": mlp(6, 6, 2, activation=identity),
    "1 hidden layer of 6": mlp(6, 2, activation=tanh),
    "2 hidden layers of 6": mlp(6, 6, 2, activation=tanh),
}
WIDTHS = {f"hidden units: {n}": mlp(n, 2, activation=tanh) for n in (1, 2, 3, 10)}
CURVES = {f"hidden units: {n}": mlp(n, 1, activation=tanh) for n in (1, 3, 6, 50)}


def train(model: fnn.Layer, loss: Any, data: Any, epochs: int) -> Any:
    """Return parameters after training on batches of 50 examples."""
    return fnn.fit(
        model,
        loss,
        fnn.optimizers.Adam(fnn.schedules.CosineDecay(0.02, epochs * len(data[0]) // 50)),
        data,
        key=jax.random.key(1),
        epochs=epochs,
        batch_size=50,
        progress=False,
    ).params


def curve(x: Any) -> Any:
    """Return a bounded function of one number, the one to be approximated."""
    return np.sin(2 * x) + 0.5 * np.sin(7 * x)


def collapse(model: fnn.Layer, params: Any, x: Any) -> float:
    """Return how far a chain of linear layers is from the layer it collapses into."""
    kernel, bias = jnp.eye(2), jnp.zeros(2)
    for layer in params.values():
        kernel, bias = kernel @ layer["kernel"], bias @ layer["kernel"] + layer["bias"]
    return float(jnp.abs(fnn.batched(model)(params, x) - (x @ kernel + bias[None])).max())


def main(
    epochs: int = 300,
    depths: dict[str, fnn.Sequential] = DEPTHS,
    widths: dict[str, fnn.Sequential] = WIDTHS,
    curves: dict[str, fnn.Sequential] = CURVES,
    outputs: str = "outputs",
) -> Any:
    """Return accuracies by depth and width, errors of the curves, and of the collapse."""
    figure, axes = plt.subplots(3, 4, figsize=(11, 8.2), layout="constrained")
    spirals = fnn.data.spirals(300, key=jax.random.key(0), classes=2, noise=0.03, turns=1.0)
    circles = fnn.data.circles(300, key=jax.random.key(0), noise=0.1)
    accuracies = {}
    for row, models, data in (axes[0], depths, spirals), (axes[1], widths, circles):
        for panel, (name, model) in zip(row, models.items(), strict=False):
            params = train(model, fnn.losses.softmax_cross_entropy, data, epochs)
            accuracies[name] = regions(panel, name, model, params, data)
            if name.startswith("chain"):
                gap = collapse(model, params, data[0])
                print(f"{'':24} one layer, of the product of weights: {gap:.0e} apart")
    x = np.linspace(-3, 3, 400, dtype=np.float32)[:, None]
    errors = {}
    for panel, (name, model) in zip(axes[2], curves.items(), strict=False):
        params = train(model, fnn.losses.squared_error, (x, curve(x)), 10 * epochs)
        fitted = fnn.batched(model)(params, x)
        errors[name] = float(jnp.sqrt(jnp.mean((fitted - curve(x)) ** 2)))
        print(f"{name:24} root mean squared error {errors[name]:.3f}")
        panel.plot(x, curve(x), color="0.6", linewidth=4)
        panel.plot(x, fitted, color="#D55E00")
        panel.set(title=f"{name}, error {errors[name]:.2g}", xticks=[], yticks=[])
    folder = Path(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "decision_regions.png", dpi=85)
    plt.close(figure)
    return accuracies, errors, gap


def regions(axes: Any, name: str, model: Any, params: Any, data: Any) -> float:
    """Draw decision regions, print and return the accuracy."""
    predict = jax.jit(lambda x: jax.nn.softmax(fnn.batched(model)(params, x)))
    accuracy = float(np.mean(predict(data[0]).argmax(1) == data[1]))
    print(f"{name:24} {accuracy:4.0%} right")
    fnn.plots.decision_regions(predict, *data, axes=axes)
    axes.get_legend().remove()
    axes.set(title=f"{name}, {accuracy:.0%}", xticks=[], yticks=[], xlabel="", ylabel="")
    return accuracy


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
