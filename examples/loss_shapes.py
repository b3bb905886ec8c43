"""How the loss shapes its surface: bowls, plateaus and slopes.

    python examples/loss_shapes.py

The squared error of a line is a bowl. Behind a sigmoid the same error is flat wherever the
sigmoid is, however wrong the answer; cross-entropy is steep exactly there. Their slopes in
the logit z, where ŷ = σ(z), say why:

    ½ (ŷ - y)²                            (ŷ - y) ŷ (1 - ŷ)
    -y log ŷ - (1 - y) log(1 - ŷ)         ŷ - y

Prints the error of the house prices, counts how much of each surface is flat, and descends
both losses from the same wrong answer.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn.activations import sigmoid

HOUSES = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 2.0, 3.0])
INPUTS = jnp.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, 2.0], [1.5, -0.5], [-0.5, -2.0]])
LABELS = jnp.array([0.0, 1.0, 1.0, 1.0, 0.0])


def house_error(w: jax.Array) -> jax.Array:
    """Return E(w) = 1/(2N) Σ (y - w x)², the error of prices y of houses of sizes x."""
    x, y = HOUSES
    return jnp.mean(jax.vmap(fnn.losses.half_squared_error)(w * x, y))


def squared_error(z: jax.Array, y: jax.Array) -> jax.Array:
    """Return ½ (σ(z) - y)²."""
    return fnn.losses.half_squared_error(sigmoid(z), y)


LOSSES = {
    "squared error": squared_error,
    "cross-entropy": fnn.losses.binary_cross_entropy,
}
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def surface(loss: Loss, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return mean loss and length of its gradient at all pairs of weights, (n, n) each."""

    def error(w: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(loss)(INPUTS @ w, LABELS))

    pairs = jnp.stack(jnp.meshgrid(w, w, indexing="ij"), axis=-1)
    values, grads = jax.vmap(jax.vmap(jax.value_and_grad(error)))(pairs)
    return values, jnp.linalg.norm(grads, axis=-1)


def steps_to_learn(loss: Loss, z: float = -6.0, rate: float = 1.0) -> int:
    """Return the steps of descent in z from a wrong answer to one above 0.9; y is 1."""
    slope = jax.grad(loss)

    def wrong(carry: Any) -> jax.Array:
        return sigmoid(carry[1]) < 0.9

    def step(carry: Any) -> Any:
        return carry[0] + 1, carry[1] - rate * slope(carry[1], jnp.ones(()))

    return int(jax.lax.while_loop(wrong, step, (jnp.int32(0), jnp.float32(z)))[0])


def main(outputs: str = "outputs") -> tuple[dict[str, float], dict[str, int]]:
    """Return the flat share of each surface, and the steps that each loss needs."""
    for weight in 0.0, 0.5, 1.0:
        print(f"house prices: E({weight:g}) = {house_error(jnp.float32(weight)):.4f}")
    w = jnp.linspace(-10, 10, 101)
    surfaces = {name: surface(loss, w) for name, loss in LOSSES.items()}
    flat, steps = {}, {}
    for name, loss in LOSSES.items():
        flat[name] = float(jnp.mean(surfaces[name][1] < 0.02))
        steps[name] = steps_to_learn(loss)
        print(
            f"{name}: gradient below 0.02 on {flat[name]:.0%} of the surface; "
            f"{steps[name]} steps from ŷ = 0.002 to 0.9"
        )
    heights = {name: values for name, (values, _) in surfaces.items()}
    with fnn.plots.theme("light"):
        draw(np.asarray(w), heights, Path(outputs))
    return flat, steps


def draw(w: np.ndarray, heights: dict[str, jax.Array], folder: Path) -> None:
    """Draw the bowl, both losses over the logit, and both surfaces."""
    figure = plt.figure(figsize=(9, 7.5), layout="constrained")
    bowl, curves = figure.add_subplot(2, 2, 1), figure.add_subplot(2, 2, 2)
    weights = jnp.linspace(-0.5, 2.5, 61)
    bowl.plot(weights, jax.vmap(house_error)(weights))
    for weight, above in (0.0, 0.2), (0.5, 0.2), (1.0, -0.5):
        error = float(house_error(jnp.float32(weight)))
        bowl.plot(weight, error, "o", color="black")
        bowl.text(weight, error + above, f"  E({weight:g}) = {error:.4f}")
    bowl.set(xlabel="w", ylabel="E(w)", ylim=(-0.8, 5.5), title="line: a bowl")
    z = jnp.linspace(-8, 8, 161)
    for name, loss in LOSSES.items():
        curves.plot(z, jax.vmap(loss, (0, None))(z, jnp.ones(())), label=name)
    curves.set(xlabel="logit z", ylabel="loss where y = 1", title="sigmoid")
    curves.legend(frameon=False)
    for place, (name, values) in enumerate(heights.items(), 3):
        axes = figure.add_subplot(2, 2, place, projection="3d")
        axes.plot_surface(*np.meshgrid(w, w, indexing="ij"), values, cmap="viridis")
        axes.set(xlabel="$w_1$", ylabel="$w_2$", title=f"sigmoid, {name}")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "loss_shapes.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
