"""How large a batch is worth its while: the gradient noise scale over training.

    python examples/noise_scale.py [--data FOLDER]

Measures the noise scale tr Σ / |G|² at every step of training a perceptron on digits, or on
MNIST, where FOLDER has its files. Then trains with batches of many sizes to the same loss:
well below the noise scale, twice the batch needs about half the steps, beyond it hardly
fewer. Writes a picture into `outputs`.

Source: McCandlish et al. 2018, "An empirical model of large-batch training".
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
from fnn import per_example, tree

MODEL = fnn.models.mlp(64, 10)
AVERAGE = fnn.optimizers.ExponentialMovingAverage(0.95)
RATES = jnp.array([0.1, 0.2, 0.4, 0.8, 1.6])  # of which each size has the best
SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
TARGET = 0.2  # the loss to train to


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cross-entropy of one example."""
    return fnn.losses.softmax_cross_entropy(MODEL(params, x), y)


def mean_loss(params: Any, batch: Any) -> jax.Array:
    """Return the mean loss of a batch."""
    return jnp.mean(jax.vmap(loss, (None, 0, 0))(params, *batch))


def main(data: str | None = None, sizes: Any = SIZES, outputs: str = "outputs") -> Any:
    """Return the noise scale at each step, and the steps that each size of batch needs."""
    images, labels = fnn.data.mnist(data)[0] if data else fnn.data.digits()
    examples = jnp.asarray(images), jnp.asarray(labels)
    init_key, measure_key, run_key = jax.random.split(jax.random.key(0), 3)
    params, _ = MODEL.init(init_key, images[0])
    scales, losses = map(np.asarray, jax.jit(measure)(params, examples, measure_key))
    end = int(np.argmax(np.append(losses[:-1], 0) < TARGET)) + 1
    for i in np.unique(np.geomspace(1, end, 8).astype(int)) - 1:
        print(f"step {i + 1:4}   loss {losses[i]:5.2f}   noise scale {scales[i]:6.1f}")
    compiled = jax.jit(run, static_argnums=3)
    steps = {size: int(compiled(params, examples, run_key, size)) for size in sizes}
    for size, count in steps.items():
        print(f"batches of {size:4}: {count:5,} steps, {size * count:7,} examples")
    print(f"the median noise scale on the way there: {np.median(scales[:end]):.0f}")
    draw(scales[:end], losses[:end], steps, Path(outputs))
    return scales[:end], steps


def measure(params: Any, data: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return noise scale and loss, averaged, at each of 1,000 steps of batch size 64."""

    def step(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        g = per_example.gradients(loss)(params, *batch_of(data, key, 64))
        new = per_example.gradient_noise_scale(g), g.losses.mean()
        state = AVERAGE.update(new, state)
        scale, mean_loss = AVERAGE.average(state)
        params = tree.subtract(params, tree.scale(0.2, g.mean()))
        return (params, state), (scale.batch_size, mean_loss)

    zero = jnp.zeros(())
    start = params, AVERAGE.init((per_example.NoiseScale(zero, zero), zero))
    return jax.lax.scan(step, start, jax.random.split(key, 1_000))[1]


def run(params: Any, data: Any, key: jax.Array, size: int) -> jax.Array:
    """Return the steps until the first of the rates has the loss, of 1,024 examples."""
    known = jax.tree.map(lambda x: x[:1024], data)

    def unfinished(carry: Any) -> jax.Array:
        losses = jax.vmap(mean_loss, (0, None))(carry[1], known)
        return jnp.all(~(losses < TARGET)) & (carry[0] < 10_000)

    def step(carry: Any) -> Any:
        batch = batch_of(data, jax.random.fold_in(key, carry[0]), size)
        grads = jax.vmap(jax.grad(mean_loss), (0, None))(carry[1], batch)
        updates = jax.vmap(tree.scale)(-RATES, grads)
        return carry[0] + 1, tree.add(carry[1], updates)

    copies = jax.tree.map(lambda w: jnp.stack([w] * len(RATES)), params)
    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), copies))[0]


def batch_of(data: Any, key: jax.Array, size: int) -> Any:
    """Draw a batch with replacement: independent examples, as the theory has them."""
    rows = jax.random.randint(key, (size,), 0, len(data[1]))
    return jax.tree.map(lambda x: x[rows], data)


def draw(scales: Any, losses: Any, steps: Any, folder: Path) -> None:
    """Draw the noise scale as the loss falls, and the steps that each size needs."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes, counts = np.array(list(steps.items())).T
    with fnn.plots.theme("light"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
        left.semilogx(losses, scales)
        left.set(xlabel="training loss", ylabel="noise scale")
        left.set(title="the noise scale grows as the loss falls", xlim=losses[[0, -1]])
        left.set_xticks((2, 1, 0.5, 0.2), ("2", "1", "0.5", "0.2"))
        left.minorticks_off()
        right.loglog(sizes, counts, "o", base=2, label="measured")
        halved = counts[0] * sizes[0] / sizes
        right.loglog(sizes, halved, "--", base=2, label="twice the batch, half the steps")
        right.axvline(np.median(scales), color="grey", label="median noise scale")
        right.set(title="beyond the noise scale, few steps are saved", xlabel="batch size")
        right.set(ylabel=f"steps to a loss of {TARGET}", ylim=(30, 4 * counts.max()))
        right.legend(loc="upper left")
        figure.savefig(folder / "noise_scale.png", dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", help="folder with the MNIST files; digits by default")
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(**vars(parser.parse_args()))
