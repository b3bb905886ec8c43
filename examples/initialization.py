"""Initialization and the signal: 20 layers, each scheme, tanh and ReLU.

    python examples/initialization.py

A unit sums n inputs, so that a layer h = φ(x W) multiplies the mean of squares by about
n Var(W), times 1/2 for ReLU, which drops the negative half. Where this factor is 1, as
He's 2/n makes it for ReLU, signals keep their size at any depth; else it is raised to the
power of the depth. Prints and draws the standard deviation of the activations in every
layer, and shows that units which start the same remain the same.

Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward
neural networks"; He et al. 2015, "Delving deep into rectifiers".
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn import initializers

SCHEMES: dict[str, fnn.types.Initializer] = {
    "zero": initializers.zeros,
    "Gaussian, 0.01": initializers.Normal(0.01),
    "Glorot": initializers.glorot_normal,  # Var(W) = 2 / (n_in + n_out)
    "LeCun": initializers.lecun_normal,  # 1 / n_in
    "He": initializers.he_normal,  # 2 / n_in
    "orthogonal": initializers.Orthogonal(),
}
ACTIVATIONS = {"tanh": jnp.tanh, "ReLU": jax.nn.relu}


def deviations(
    scheme: fnn.types.Initializer,
    activation: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    depth: int,
) -> np.ndarray:
    """Return the standard deviation of h = φ(x W) in every layer, (depth,)."""
    result = []
    width = x.shape[1]
    for key in jax.random.split(jax.random.key(1), depth):
        x = activation(x @ scheme(key, (width, width), x.dtype))
        result.append(float(x.std()))
    return np.array(result)


def spread_of_units(scheme: fnn.types.Initializer, epochs: int) -> tuple[float, float]:
    """Train 64-16-10 on digits; return how much its hidden units differ, and its accuracy.

    Units with the same weights get the same gradients, and remain the same for ever.
    """
    model = fnn.Sequential(
        fnn.Flatten(),
        fnn.Dense(16, kernel_init=scheme),
        jnp.tanh,
        fnn.Dense(10, kernel_init=scheme),
    )
    params, _, history = fnn.fit(
        model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(0.01),
        fnn.data.digits(),
        key=jax.random.key(0),
        epochs=epochs,
        batch_size=64,
        metrics={"accuracy": fnn.metrics.accuracy},
        progress=False,
    )
    spread = params["dense_0"]["kernel"].std(axis=1).max()
    return float(spread), float(history["accuracy"][-1])


def main(
    depth: int = 20, width: int = 256, epochs: int = 10, outputs: str = "outputs"
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, tuple[float, float]]]:
    """Return the deviations in every layer, and what becomes of a network's units."""
    x = jax.random.normal(jax.random.key(0), (512, width))
    signals = {
        name: {scheme: deviations(init, phi, x, depth) for scheme, init in SCHEMES.items()}
        for name, phi in ACTIVATIONS.items()
    }
    for name, schemes in signals.items():
        print(f"{name}: standard deviation of the activations")
        for scheme, values in schemes.items():
            ends = values[[0, depth // 2 - 1, depth - 1]]
            print(f"    {scheme:14}", *[f"{value:9.2g}" for value in ends])
    units = {name: spread_of_units(SCHEMES[name], epochs) for name in ("zero", "Glorot")}
    for name, (spread, accuracy) in units.items():
        print(f"{name}, trained: units differ by {spread:.2g}, accuracy {accuracy:.0%}")
    draw(signals, Path(outputs))
    return signals, units


def draw(signals: dict[str, dict[str, np.ndarray]], folder: Path) -> None:
    """Draw the deviations over depth, a panel for each activation."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    for panel, (name, schemes) in zip(axes, signals.items(), strict=True):
        lines = {
            "He": schemes["He"],
            "Glorot, LeCun": schemes["Glorot"],  # the same where n_in = n_out
            "orthogonal": schemes["orthogonal"],
            "Gaussian, 0.01": schemes["Gaussian, 0.01"],
        }
        fnn.plots.signals(lines, label="standard deviation of activations", axes=panel)
        panel.set(title=name, ylim=(1e-7, 3))
        panel.text(20, 2e-7, "zero: no signal", ha="right", color="0.4")
    axes[0].get_legend().remove()
    axes[1].set_ylabel("")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "initialization.png", dpi=115)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
