"""Twelve activations and their derivatives, and what ten layers make of a gradient.

    python examples/activations.py

Backpropagation multiplies by one derivative of the activation in every layer. Sigmoid's is
at most 1/4, so ten layers leave a gradient less than a millionth; a step's is 0, so that
nothing is left of it at all. Prints, for each, the values that it takes, its largest
derivative and the tenth power of that, and draws all.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt

import fnn
from fnn import activations

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "binary step": activations.binary_step,
    "sign": activations.sign,
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "ReLU": activations.relu,
    "leaky ReLU, slope 0.1": lambda x: activations.leaky_relu(x, 0.1),
    "ELU": activations.elu,
    "SELU": activations.selu,
    "softplus": activations.softplus,
    "GELU": activations.gelu,
    "SiLU": activations.silu,
    "mish": activations.mish,
}
LAYERS = 10


class Facts(NamedTuple):
    """The measurements of an activation from -20 to 20."""

    low: float
    high: float
    slope: float  # the largest derivative
    left: float  # the most that LAYERS layers leave of a gradient


def facts(function: Callable[[jax.Array], jax.Array]) -> Facts:
    """Return the range of a function and how large its derivative becomes."""
    x = jnp.linspace(-20, 20, 40001)
    y, slopes = jax.jit(jax.vmap(jax.value_and_grad(function)))(x)
    slope = float(jnp.abs(slopes).max())
    return Facts(float(y.min()), float(y.max()), slope, slope**LAYERS)


def main(outputs: str = "outputs") -> dict[str, Facts]:
    """Print, draw and return the facts."""
    found = {name: facts(function) for name, function in ACTIVATIONS.items()}
    print(f"{'':24}{'from':>8}{'to':>8}{'slope':>8}   after {LAYERS} layers")
    for name, (low, high, slope, left) in found.items():
        print(f"{name:24}{low:8.2f}{high:8.2f}{slope:8.2f}   {left:.2g}")
    draw(found, Path(outputs))
    return found


def draw(found: dict[str, Facts], folder: Path) -> None:
    """Draw each function with its derivative."""
    with fnn.plots.theme("light"):
        figure, panels = plt.subplots(3, 4, figsize=(9.5, 6.8), sharex=True, sharey=True)
        for panel, (name, function) in zip(panels.flat, ACTIVATIONS.items(), strict=True):
            fnn.plots.activation(function, low=-3.5, high=3.5, axes=panel)
            panel.set_title(f"{name}\nφ′ ≤ {found[name].slope:.2f}")
            panel.label_outer()
            names = panel.get_legend_handles_labels()
            panel.get_legend().remove()
        panel.set(ylim=(-1.9, 3), xticks=(-3, 0, 3), yticks=(-1, 0, 1, 2, 3))
        figure.legend(*names, loc="outside upper center", ncols=2)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "activations.png", dpi=110)
    plt.close(figure)
    print(f"wrote {folder / 'activations.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
