"""Backpropagation by hand: deltas, layer by layer, that give what `jax.grad` gives.

    python examples/backpropagation.py

In a network of layers a⁽ˡ⁾ = σ(z⁽ˡ⁾), z⁽ˡ⁾ = a⁽ˡ⁻¹⁾ W⁽ˡ⁾ + b⁽ˡ⁾, with the error
E = ½ |a⁽ᴸ⁾ - y|², the deltas δ⁽ˡ⁾ = ∂E/∂z⁽ˡ⁾ run from the last layer to the first:

    δ⁽ᴸ⁾ = (a⁽ᴸ⁾ - y) σ'(z⁽ᴸ⁾)         δ⁽ˡ⁻¹⁾ = W⁽ˡ⁾ δ⁽ˡ⁾ σ'(z⁽ˡ⁻¹⁾)
    ∂E/∂W⁽ˡ⁾ = a⁽ˡ⁻¹⁾ᵀ δ⁽ˡ⁾            ∂E/∂b⁽ˡ⁾ = δ⁽ˡ⁾

where σ' = a (1 - a). The numbers are those of the course; `NOTE` says where they differ.
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
from fnn import tree
from fnn.activations import sigmoid

X, TARGET, RATE = jnp.array([0.1, 0.3]), jnp.array([0.03]), 0.01
NEURON = {"dense_0": {"kernel": jnp.array([[0.5], [0.2]]), "bias": jnp.array([1.83])}}
KERNEL = jnp.array([[0.5, 0.62], [0.1, 0.2]])  # W1 and W2 to h₁, W3 and W4 to h₂
THREE = {
    "dense_0": {"kernel": KERNEL, "bias": jnp.array([0.4, -0.1])},
    "dense_1": {"kernel": jnp.array([[-0.2], [0.3]]), "bias": jnp.array([1.83])},
}
NOTE = """out (1 - out) is {:.4f}; the course takes .23, so its gradients are about twice
too large (W6: .097), and its new W5 subtracts the output of h₁, not rate · dE/dW5.
"""


def network(*widths: int) -> fnn.Sequential:
    """Make a network of sigmoid layers."""
    return fnn.Sequential(*[part for n in widths for part in (fnn.Dense(n), sigmoid)])


def forward(params: Any, x: jax.Array) -> list[jax.Array]:
    """Return a⁽⁰⁾ = x, a⁽¹⁾, …, a⁽ᴸ⁾."""
    outputs = [x]
    for layer in params.values():
        outputs.append(sigmoid(outputs[-1] @ layer["kernel"] + layer["bias"]))
    return outputs


def backward(params: Any, outputs: list[jax.Array], y: jax.Array) -> Any:
    """Return ∂E/∂W and ∂E/∂b of every layer."""
    slopes = [a * (1 - a) for a in outputs]
    delta, grads = (outputs[-1] - y) * slopes[-1], {}
    for i, (name, layer) in reversed(list(enumerate(params.items()))):
        grads[name] = {"kernel": jnp.outer(outputs[i], delta), "bias": delta}
        delta = layer["kernel"] @ delta * slopes[i]
    return {name: grads[name] for name in params}


def main(widths: tuple[int, ...] = (64, 32, 32, 8), outputs: str = "outputs") -> Any:
    """Return the gradient of three neurons, and how far a deep one's is from `jax.grad`."""

    def error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        model = network(*[len(layer["bias"]) for layer in params.values()])
        return fnn.losses.half_squared_error(model(params, x), y)

    output = forward(NEURON, X)
    slope = backward(NEURON, output, TARGET)["dense_0"]["kernel"]
    weight = NEURON["dense_0"]["kernel"] - RATE * slope
    print(f"one neuron: output {output[1]}, dE/dw {slope.T}, after a step w {weight.T}")

    passed = forward(THREE, X)
    grads, expected = backward(THREE, passed, TARGET), jax.grad(error)(THREE, X, TARGET)
    print(f"three neurons: hidden {passed[1]}, output {passed[2]}; dE/dw by hand, jax.grad")
    for i, pair in enumerate(zip(weights(grads), weights(expected), strict=True), 1):
        print("    W{} {:8.4f} {:8.4f}".format(i, *pair))
    print(NOTE.format(*passed[2] * (1 - passed[2])))

    init_key, x_key = jax.random.split(jax.random.key(0))
    x, y = jax.random.normal(x_key, widths[:1]), jnp.zeros(widths[-1])
    params, _ = network(*widths[1:]).init(init_key, x)
    deep, expected = backward(params, forward(params, x), y), jax.grad(error)(params, x, y)
    gap = float(tree.norm(tree.subtract(deep, expected)) / tree.norm(expected))
    print(f"{'-'.join(map(str, widths))}: relative difference from jax.grad {gap:.1g}")
    draw(passed, grads, Path(outputs))
    return grads, gap


def weights(params: Any) -> Any:
    """Return the weights in the order of their names W1 to W6."""
    return np.hstack([layer["kernel"].T.ravel() for layer in params.values()])


def draw(passed: list[jax.Array], grads: Any, folder: Path) -> None:
    """Draw the three neurons: what goes forward in blue, what comes back in orange."""
    blue, orange = "#0072B2", "#D55E00"
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    places = np.array([(0, 1), (0, -1), (3, 1), (3, -1), (6, 0)], float)
    biases = np.hstack([layer["bias"] for layer in grads.values()])
    deltas = "", "", *(f"δ = {delta:.4f}" for delta in biases)
    wires = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 4), (3, 4))
    label: dict[str, Any] = {"ha": "center", "bbox": {"color": "white", "pad": 1}}
    edges = zip(wires, weights(THREE), weights(grads), strict=True)
    for i, ((start, end), weight, slope) in enumerate(edges, 1):
        axes.plot(*places[[start, end]].T, color="0.7", zorder=0)
        x, y = 0.65 * places[start] + 0.35 * places[end]
        axes.text(x, y, f"W{i} = {weight:g}", color=blue, va="bottom", **label)
        axes.text(x, y, f"∂E/∂W{i} = {slope:.4f}", color=orange, va="top", **label)
    names, signals = ("x₁", "x₂", "h₁", "h₂", "out"), np.hstack(passed)
    for i, (x, y) in enumerate(places):
        axes.plot(x, y, "o", markersize=42, color="white", markeredgecolor="black")
        axes.text(x, y, names[i], ha="center", va="center", size=13)
        axes.text(x, y + 0.32, f"{signals[i]:.4g}", ha="center", va="bottom", color=blue)
        axes.text(x, y - 0.32, deltas[i], ha="center", va="top", color=orange)
    axes.set_title("outputs go forward (blue), deltas and gradients come back (orange)")
    axes.axis((-0.6, 6.8, -1.6, 1.6))
    axes.axis("off")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "backpropagation.png", dpi=115)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
