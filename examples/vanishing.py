"""Vanishing and exploding gradients, and every cure.

    python examples/vanishing.py

On its way back through a layer, the gradient is multiplied by the weights and the slope of
the activation. Over L layers a factor of 0.5 becomes 0.5^(L-1), one of 1.5 becomes
1.5^(L-1), and the slope of a sigmoid is at most 1/4. Prints and draws the norm of the
gradient that reaches each of 20 layers, before any training: faults, and what cures them.
Clipping cures explosions only: it bounds the step, and leaves the factor.
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
from fnn.activations import relu, sigmoid, tanh
from fnn.initializers import Normal, VarianceScaling, glorot_normal, he_normal

WIDTH = 64  # as many as a digit has pixels
GROWING = VarianceScaling(1.5**2 * 2.0, "in", "normal")  # 1.5 times the deviation of He's
FAULTS = {
    "sigmoid, small weights": (fnn.Dense(WIDTH, kernel_init=Normal(0.05)), sigmoid),
    "sigmoid, Glorot": (fnn.Dense(WIDTH, kernel_init=glorot_normal), sigmoid),
    "ReLU, large weights": (fnn.Dense(WIDTH, kernel_init=GROWING), relu),
}
CURES = {
    "ReLU, He": (fnn.Dense(WIDTH, kernel_init=he_normal), relu),
    "tanh, Glorot": (fnn.Dense(WIDTH, kernel_init=glorot_normal), tanh),
    "sigmoid, batch norm": (fnn.Dense(WIDTH), fnn.BatchNorm(), sigmoid),
    "sigmoid, residual": (fnn.Residual(fnn.Sequential(fnn.Dense(WIDTH), sigmoid)),),
}
CLIPPING = {
    "no clipping": fnn.optimizers.SGD(1.0),
    "by norm 1": fnn.optimizers.ClipByNorm(1.0),
    "by value 0.01": fnn.optimizers.ClipByValue(0.01),
    "by global norm 1": fnn.optimizers.ClipByGlobalNorm(1.0),
}


def gradients(block: tuple[Any, ...], depth: int) -> tuple[np.ndarray, Any]:
    """Return the norm of ∂E/∂h of every layer's output h, and ∂E/∂θ of its weights θ."""
    layer, head = fnn.Sequential(*block), fnn.Dense(10)
    images, labels = fnn.data.digits()
    x, y = jnp.asarray(images[:256]).reshape(256, WIDTH), jnp.asarray(labels[:256])
    head_key, *keys = jax.random.split(jax.random.key(0), depth + 1)
    head_params, _ = head.init(head_key, x[0])
    _, state = layer.init(head_key, x[0])

    def error(params: list[Any], changes: list[jax.Array]) -> jax.Array:
        h = x
        for theta, change in zip(params, changes, strict=True):
            h, _ = fnn.batched(layer).apply(theta, state, h, train=True)
            h = h + change
        logits = fnn.batched(head)(head_params, h)
        return jnp.mean(jax.vmap(fnn.losses.softmax_cross_entropy)(logits, y))

    params = [layer.init(key, x[0])[0] for key in keys]
    changes = [jnp.zeros_like(x)] * depth  # ∂E/∂h is the gradient in a change of h
    grads, slopes = jax.jit(jax.grad(error, argnums=(0, 1)))(params, changes)
    return norms(slopes), grads


def norms(layers: list[Any]) -> np.ndarray:
    """Return the norm of each layer's gradient, (layers,)."""
    return np.array([float(fnn.tree.norm(layer)) for layer in layers])


def main(depth: int = 20, outputs: str = "outputs") -> dict[str, dict[str, np.ndarray]]:
    """Return the norms of the gradients, and of the steps that clipping makes of them."""
    faults = {name: gradients(block, depth) for name, block in FAULTS.items()}
    cures = {name: gradients(block, depth)[0] for name, block in CURES.items()}
    _, exploding = faults["ReLU, large weights"]
    steps = {}
    for name, transform in CLIPPING.items():
        updates, _ = transform.update(exploding, transform.init(exploding), exploding)
        steps[name] = norms(updates)
    lines = {name: line for name, (line, _) in faults.items()}
    print("norm of the gradient at the first and the last layer, and factor of a layer")
    for name, line in (lines | cures).items():
        factor = (line[0] / line[-1]) ** (1 / (depth - 1))
        print(f"    {name:24} {line[0]:9.2g} {line[-1]:9.2g} {factor:6.2f}")
    for name, line in steps.items():
        print(f"clipping: {name:20} {np.linalg.norm(line):9.2g}, norm of the step")
    result = {"vanishing, exploding": lines, "cured": cures, "clipped": steps}
    with fnn.plots.theme("light"):
        draw(result, Path(outputs))
    return result


def draw(result: dict[str, dict[str, np.ndarray]], folder: Path) -> None:
    """Draw the norms over depth: faults and cures on one scale, then clipped steps."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 4.2))
    for panel, (title, lines) in zip(axes, result.items(), strict=True):
        fnn.plots.signals(lines, label="norm of the gradient", axes=panel)
        panel.legend(loc="upper right", fontsize="small")
        panel.set(title=title, ylim=(1e-13, 1e9), xticks=(1, 5, 10, 15, 20))
    axes[2].set(ylabel="norm of the exploding step", ylim=(1e-2, 1e9))
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "vanishing.png", dpi=105)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
