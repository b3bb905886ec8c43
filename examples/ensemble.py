"""Let an ensemble of networks say where it does not know.

    python examples/ensemble.py [--outputs FOLDER]

The members differ in nothing but their keys, which give initial values and orders; all are
trained in one compiled call. Where there is data they agree; where there is none, each goes
on in its own way, and their deviation says so. The same holds for digits: an ensemble that
has never seen an 8 or a 9 is less sure of these than of the digits that it knows.

Source: Lakshminarayanan, Pritzel & Blundell 2017, "Simple and scalable predictive
uncertainty estimation using deep ensembles".
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import fnn
from fnn.training import Metric
from fnn.types import Array, Key, NDArray, Params

CURVE = fnn.models.mlp(64, 64, 1, activation=jnp.tanh)
DIGITS = fnn.models.mlp(128, 10)


class Figures(NamedTuple):
    """Deviations beside and in the gap, and how well 8s and 9s are told from the rest."""

    beside: float
    gap: float
    one_network: float
    ensemble: float


def train_members(
    model: fnn.Layer, loss: Metric, data: tuple[Array, Array], keys: Key, epochs: int
) -> Params:
    """Train a network for each key, all together; return the parameters of all."""
    objective, adam = fnn.supervised(model, loss), fnn.optimizers.Adam(3e-3)

    def alone(key: Key, data: tuple[Array, Array]) -> Params:
        trained = fnn.train(objective, adam, data, key=key, epochs=epochs, batch_size=32)
        return trained.train_state.params

    return jax.jit(jax.vmap(alone, in_axes=(0, None)))(keys, data)


def main(members: int = 16, outputs: str = "outputs") -> Figures:
    """Train both ensembles, report and draw."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    beside, gap = curve(jax.random.split(jax.random.key(0), members), left)
    alone, together = digits(jax.random.split(jax.random.key(1), members), right)
    print(f"deviation beside the gap {beside:.3f}, in its middle {gap:.3f}")
    print(f"unknown digits told apart: one network {alone:.1%}, ensemble {together:.1%}")
    folder = Path(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "ensemble.png", dpi=110)
    plt.close(figure)
    return Figures(beside, gap, alone, together)


def curve(keys: Key, axes: Axes) -> tuple[float, float]:
    """Learn a curve from points with a gap; return the deviations beside and in it."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-4, -1.5, 64), rng.uniform(1.5, 4, 64)])
    y = np.sin(1.5 * x) + rng.normal(0, 0.1, len(x))
    data = jnp.asarray(x[:, None], jnp.float32), jnp.asarray(y[:, None], jnp.float32)
    params = train_members(CURVE, fnn.losses.squared_error, data, keys, epochs=300)

    points = jnp.linspace(-6, 6, 301)
    outputs = jax.vmap(fnn.batched(CURVE), (0, None))(params, points[:, None])[..., 0]
    mean, deviation = np.asarray(outputs.mean(0)), np.asarray(outputs.std(0))
    fnn.plots.band(points, mean, 2 * deviation, label="mean ± 2 deviations", axes=axes)
    axes.plot(points, np.sin(1.5 * np.asarray(points)), "k--", lw=1, label="true curve")
    axes.plot(x, y, "k.", ms=3, alpha=0.5, label="data")
    axes.set(xlabel="x", ylabel="y", ylim=(-3, 4), title="Sure only where there is data")
    axes.legend(fontsize="small", loc="upper center", ncols=2)
    known = (abs(points) > 1.8) & (abs(points) < 3.8)
    return float(deviation[known].mean()), float(deviation[150])


def digits(keys: Key, axes: Axes) -> tuple[float, float]:
    """Learn the digits 0 to 7; return how well 8 and 9 are told from them by entropy."""
    images, labels = fnn.data.digits()
    x, known = images.reshape(len(images), -1), labels < 8
    train, test = fnn.data.split(
        (x[known], labels[known]), (0.7, 0.3), key=jax.random.key(2), stratify=labels[known]
    )
    loss = fnn.losses.softmax_cross_entropy
    params = train_members(DIGITS, loss, train, keys, epochs=20)

    def entropies(x: NDArray) -> tuple[Array, Array]:
        """Return -Σ p log p of the first member, and of the mean of all."""
        logits = jax.vmap(fnn.batched(DIGITS), (0, None))(params, jnp.asarray(x))
        p = jax.nn.softmax(logits)
        of = jnp.stack([p[0], p.mean(0)])
        alone, together = -jnp.sum(jax.scipy.special.xlogy(of, of), -1)
        return alone, together

    seen, unseen = entropies(test[0]), entropies(x[~known])
    bins = np.linspace(0, 2, 21).tolist()
    for values, label in ((seen[1], "digits 0 to 7"), (unseen[1], "8 and 9, never seen")):
        axes.hist(np.asarray(values), bins, density=True, alpha=0.6, label=label)
    axes.set(xlabel="entropy of the prediction", ylabel="density")
    axes.set_title("Less sure of what it never saw")
    axes.legend(frameon=False)
    alone, together = (ranked(a, b) for a, b in zip(seen, unseen, strict=True))
    return alone, together


def ranked(low: Array, high: Array) -> float:
    """Return the share of pairs in which the second value is higher: the ROC's area."""
    return float((low[:, None] < high[None, :]).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs")
    mpl.use("agg")  # pictures go to files, so no screen is needed
    main(outputs=parser.parse_args().outputs)
