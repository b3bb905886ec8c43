"""The effect of the learning rate and the batch size on training.

    python examples/batch_sizes.py

A perceptron learns digits for ten epochs by stochastic gradient descent: in batches of 1
to 1024, at 17 rates each, which train together in one compiled call per batch size. Too
low a rate is slow, too high a one never settles. At one rate, small batches take more steps
in an epoch and get further; but a larger batch bears a higher rate, up to a limit. Draws
the curves into the folder `outputs`.

Source: Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour",
for the rate that is proportional to the batch size.
"""

import argparse
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn

MODEL = fnn.models.mlp(64, 10)
OBJECTIVE = fnn.supervised(MODEL, fnn.losses.softmax_cross_entropy)
RATES = np.geomspace(1e-3, 10, 17).astype(np.float32)


def main(
    sizes: Sequence[int] = (1, 4, 16, 64, 256, 1024),
    epochs: int = 10,
    seed: int = 0,
    outputs: str = "outputs",
) -> dict[int, np.ndarray]:
    """Return the training losses, (rates, epochs + 1), of each batch size."""
    images, labels = fnn.data.digits()
    data = jnp.asarray(images[:1024]), jnp.asarray(labels[:1024])
    losses = {size: np.asarray(train(data, seed, size, epochs)) for size in sizes}
    print("batch size   best rate   training loss")
    for size, by_rate in losses.items():
        i = np.nanargmin(by_rate[:, -1])
        print(f"{size:10}   {RATES[i]:9.3f}   {by_rate[i, -1]:13.4f}")
    draw(losses, Path(outputs))
    return losses


@functools.partial(jax.jit, static_argnums=(2, 3))
def train(data: Any, seed: int, size: int, epochs: int) -> jax.Array:
    """Train at all rates from the same start; return losses of the whole data."""
    count = len(data[1])
    init_key, step_key, order_key = jax.random.split(jax.random.key(seed), 3)
    start, _ = MODEL.init(init_key, data[0][0])

    def run(rate: jax.Array) -> jax.Array:
        sgd = fnn.optimizers.SGD(rate)

        def step(train_state: fnn.TrainState, batch: Any) -> Any:
            return fnn.make_step(OBJECTIVE, sgd)(train_state, batch)

        def loss(train_state: fnn.TrainState) -> jax.Array:
            logits = fnn.batched(MODEL)(train_state.params, data[0])
            return jnp.mean(jax.vmap(fnn.losses.softmax_cross_entropy)(logits, data[1]))

        def epoch(train_state: fnn.TrainState, key: jax.Array) -> Any:
            order = fnn.data.permutation(key, count).reshape(-1, size)
            batches = jax.tree.map(lambda a: a[order], data)
            train_state, _ = jax.lax.scan(step, train_state, batches)
            return train_state, loss(train_state)

        train_state = fnn.TrainState.create(start, {}, sgd, key=step_key)
        keys = jax.random.split(order_key, epochs)
        _, losses = jax.lax.scan(epoch, train_state, keys)
        return jnp.concatenate([loss(train_state)[None], losses])

    return jax.vmap(run)(jnp.asarray(RATES))


def draw(losses: Mapping[int, np.ndarray], folder: Path) -> None:
    """Draw the effect of the rate, of the batch size, and of both."""
    folder.mkdir(parents=True, exist_ok=True)
    size, by_rate = list(losses.items())[len(losses) // 3]
    shown = len(RATES) // 2  # a rate of 0.1
    with fnn.plots.theme("light"):
        figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True)
        left, center, right = panels
        for rate, line in list(zip(RATES, by_rate, strict=True))[::4]:
            left.semilogy(line, label=f"{rate:.2g}")
        for batch_size, line in losses.items():
            center.semilogy(line[shown], label=f"{batch_size}")
            right.loglog(RATES, line[:, -1], label=f"{batch_size}")
        left.set(title=f"learning rates, batches of {size}", xlabel="epoch")
        left.set(ylabel="training loss", ylim=(1e-3, 10))
        center.set(title=f"batch sizes, at a rate of {RATES[shown]:.2g}", xlabel="epoch")
        right.set(title="both, after the last epoch", xlabel="learning rate")
        left.legend(title="learning rate")
        right.legend(title="batch size", loc="upper left", bbox_to_anchor=(1, 1))
        for axes in panels:
            axes.grid()
        figure.savefig(folder / "batch_sizes.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'batch_sizes.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
