"""Adam's comparison: every optimizer trains the same network on MNIST, at its best rate.

    python examples/adam_mnist.py --data FOLDER [--model cnn]

FOLDER has the four IDX files of MNIST. As in the published figures, a perceptron with two
hidden layers of 1000 units, or a convolutional network, learns with dropout in batches of
128, and the training cost is drawn over the epochs, on a logarithmic axis. Here 10,000
images do, and every optimizer has the best of three rates, a factor of about 3 apart. Some
ten minutes on two cores; writes a picture into `outputs`.

Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", figures 2 and 3.
"""

import argparse
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn import optimizers

CNN = fnn.Sequential(
    *(fnn.Conv(16, (5, 5)), jax.nn.relu, fnn.MaxPool((2, 2))),
    *(fnn.Conv(32, (5, 5)), jax.nn.relu, fnn.MaxPool((2, 2))),
    fnn.models.mlp(256, 10, dropout=0.5),
)
MODELS = {"mlp": fnn.models.mlp(1000, 1000, 10, dropout=0.5), "cnn": CNN}
MOMENTUM = functools.partial(optimizers.Momentum, momentum=0.9)
NESTEROV = functools.partial(optimizers.Nesterov, momentum=0.9)
RACE: dict[str, tuple[Callable[..., Any], Mapping[str, tuple[float, ...]]]] = {
    "SGD": (optimizers.SGD, {"mlp": (0.03, 0.1, 0.3), "cnn": (0.1, 0.3, 1.0)}),
    "Momentum": (MOMENTUM, {"mlp": (0.01, 0.03, 0.1), "cnn": (0.01, 0.03, 0.1)}),
    "Nesterov": (NESTEROV, {"mlp": (0.01, 0.03, 0.1), "cnn": (0.01, 0.03, 0.1)}),
    "AdaGrad": (optimizers.Adagrad, {"mlp": (3e-3, 0.01, 0.03), "cnn": (3e-3, 0.01, 0.03)}),
    "RMSProp": (optimizers.RMSProp, {"mlp": (1e-4, 3e-4, 1e-3), "cnn": (3e-4, 1e-3, 3e-3)}),
    "AdaDelta": (optimizers.Adadelta, {"mlp": (0.3, 1.0, 3.0), "cnn": (0.3, 1.0, 3.0)}),
    "Adam": (optimizers.Adam, {"mlp": (3e-4, 1e-3, 3e-3), "cnn": (3e-4, 1e-3, 3e-3)}),
    "Nadam": (optimizers.Nadam, {"mlp": (3e-4, 1e-3, 3e-3), "cnn": (3e-4, 1e-3, 3e-3)}),
}
EPOCHS = {"mlp": 15, "cnn": 4}
TITLES = {"mlp": "784-1000-1000-10", "cnn": "convolutional network"}
BATCH_SIZE = 128


def main(
    data: str,
    name: str = "mlp",
    model: fnn.Layer | None = None,
    epochs: int | None = None,
    images: int = 10_000,
    outputs: str = "outputs",
) -> dict[str, list[float]]:
    """Return the training cost of every epoch, of each optimizer at its best rate."""
    (x, y), _ = fnn.data.mnist(data)
    train, length = (x[:images], y[:images]), epochs or EPOCHS[name]
    costs = {}
    for optimizer, (make, rates) in RACE.items():
        tried = {
            rate: run(model or MODELS[name], make, rate, train, length)
            for rate in rates[name]
        }
        best = min(tried, key=lambda rate: tried[rate][-1])
        costs[f"{optimizer}, {best:g}"] = tried[best]
        ends = ", ".join(f"{cost[-1]:.4f} at {rate:g}" for rate, cost in tried.items())
        print(f"{optimizer:9} training cost {ends}")
    draw(costs, name, Path(outputs))
    return costs


def run(
    model: fnn.Layer,
    make: Callable[..., Any],
    rate: float,
    train: fnn.data.Examples,
    epochs: int,
) -> list[float]:
    """Train from the same start, in the same order, and return the cost of each epoch."""
    init_key, step_key, order_key = jax.random.split(jax.random.key(0), 3)
    params, state = model.init(init_key, train[0][0])
    train_state = fnn.TrainState.create(params, state, make(rate), key=step_key)
    costs = []
    for epoch in range(epochs):
        key, losses = jax.random.fold_in(order_key, epoch), []
        for batch in fnn.data.batches(train, BATCH_SIZE, key=key):
            train_state, loss = step(model, make, rate, train_state, batch)
            losses.append(loss)
        costs.append(float(np.mean(losses)))
    return [cost if np.isfinite(cost) else np.inf for cost in costs]


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def step(
    model: fnn.Layer, make: Callable[..., Any], rate: float, train_state: Any, batch: Any
) -> tuple[Any, jax.Array]:
    """Take one step. The rate is an argument: its whole grid is compiled once."""
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    train_state, metrics = fnn.make_step(objective, make(rate))(train_state, batch)
    return train_state, metrics["loss"]


def draw(costs: Mapping[str, list[float]], name: str, folder: Path) -> None:
    """Draw the training costs over the epochs."""
    path = folder / f"adam_mnist_{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, axes = plt.subplots(figsize=(8.5, 4.5))
        histories = {label: {"training cost": line} for label, line in costs.items()}
        fnn.plots.learning_curves(histories, "training cost", log=True, axes=axes)
        axes.set_title(f"MNIST, {TITLES[name]} with dropout")
        figure.savefig(path, dpi=120)
        plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--model", choices=list(MODELS), default="mlp")
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    arguments = parser.parse_args()
    main(arguments.data, arguments.model, outputs=arguments.outputs)
