"""Train a small convolutional network on MNIST with differential privacy (DP-SGD).

    python examples/private_mnist.py --data FOLDER [--epsilon 3]

Prints the test accuracy and the ε spent, beside ordinary training of the same network, and
draws them into the folder `outputs`. FOLDER has the four IDX files of MNIST.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt

import fnn
from fnn import per_example

# Bounded activations keep gradients small (Papernot et al. 2020, "Tempered sigmoid
# activations for deep learning with differential privacy").
MODEL = fnn.Sequential(
    fnn.Conv(16, (8, 8), stride=2, padding="same"),
    jnp.tanh,
    fnn.MaxPool((2, 2), stride=1),
    fnn.Conv(32, (4, 4), stride=2),
    jnp.tanh,
    fnn.MaxPool((2, 2), stride=1),
    fnn.Flatten(),
    fnn.Dense(32),
    jnp.tanh,
    fnn.Dense(10),
)
BATCH_SIZE = 512  # on average
MAX_NORM = 0.1
DELTA = 1e-5


def main(
    data: str,
    model: fnn.Layer = MODEL,
    epsilon: float = 3.0,
    epochs: int = 8,
    outputs: str = "outputs",
) -> tuple[float, float, float]:
    """Train twice; return accuracy with privacy, the ε spent, and accuracy without."""
    train, test = fnn.data.mnist(data)
    examples, steps = len(train[1]), len(train[1]) // BATCH_SIZE
    rate = BATCH_SIZE / examples
    plan: dict[str, Any] = {
        "sampling_rate": rate,
        "delta": DELTA,
        "examples": examples,
        "size": fnn.data.poisson_size(examples, rate),  # with it, ε covers truncation
    }
    sigma = per_example.calibrate_noise_multiplier(epsilon, steps=epochs * steps, **plan)
    price = functools.partial(per_example.epsilon, sigma, **plan)
    print(f"noise multiplier {sigma:.3f} for epsilon {epsilon} in {epochs} epochs")
    private = functools.partial(
        per_example.private_gradient,
        max_norm=MAX_NORM,
        noise_multiplier=sigma,
        normalize_by=float(BATCH_SIZE),
    )
    accuracies, spent = [], []
    for epoch, accuracy in enumerate(run(model, private, 1.0, train, test, epochs), 1):
        accuracies.append(accuracy)
        spent.append(price(steps=epoch * steps))
        print(f"epoch {epoch:2}  accuracy {accuracy:.2%}  epsilon {spent[-1]:.2f}")
    *_, ordinary = run(model, None, 0.05, train, test, epochs)
    print(f"without privacy: {ordinary:.2%}")
    draw(spent, accuracies, ordinary, Path(outputs))
    return accuracies[-1], spent[-1], ordinary


def run(
    model: fnn.Layer,
    gradient: Callable[..., Any] | None,
    learning_rate: float,
    train: fnn.data.Examples,
    test: fnn.data.Examples,
    epochs: int,
) -> Iterator[float]:
    """Train on Poisson batches and yield the test accuracy after every epoch."""
    init_key, step_key, sample_key = jax.random.split(jax.random.key(0), 3)
    optimizer = fnn.optimizers.Momentum(learning_rate, 0.9)
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    step = fnn.make_step(objective, optimizer, gradient=gradient)
    images, labels = map(jnp.asarray, train)
    rate = BATCH_SIZE / len(labels)
    size = fnn.data.poisson_size(len(labels), rate)

    @jax.jit
    def advance(train_state: fnn.TrainState) -> fnn.TrainState:
        key = jax.random.fold_in(sample_key, train_state.step)
        rows = fnn.data.poisson_sample(key, len(labels), rate, size)
        batch = images[rows.indices], labels[rows.indices], rows.mask
        return step(train_state, batch)[0]

    params, state = model.init(init_key, images[0])
    train_state = fnn.TrainState.create(params, state, optimizer, key=step_key)
    accuracy = {"accuracy": fnn.metrics.accuracy}
    for _ in range(epochs):
        for _ in range(len(labels) // BATCH_SIZE):
            train_state = advance(train_state)
        yield fnn.evaluate(model, train_state.params, {}, test, accuracy)["accuracy"]


def draw(spent: list[float], private: list[float], ordinary: float, folder: Path) -> None:
    """Draw the accuracy over the ε spent for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, axes = plt.subplots(figsize=(6.5, 4))
        axes.plot(spent, private, "o-", label="with privacy, after each epoch")
        axes.axhline(ordinary, color=fnn.plots.VALIDATION, label="without privacy")
        axes.set(xlabel=f"ε spent, at δ = {DELTA}", ylabel="test accuracy")
        axes.legend(loc="lower right")
        figure.savefig(folder / "private_mnist.png", dpi=120)
        plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(**vars(parser.parse_args()))
