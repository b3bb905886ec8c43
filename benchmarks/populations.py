"""64 networks trained together by `fnn.train` against one after another by `fnn.fit`.

    python -m benchmarks.populations --data FOLDER [--networks 64] [--singles 3]
                                     [--epochs 1] [--at-once 1]

The networks are 784-128-10, trained on MNIST by Adam with rates and seeds of their own. The
population is one compiled call: a loop over the networks, or over groups of `at_once` that
are mapped by `jax.vmap`. Of the trainings by `fit`, only the first `singles` are run, as
one network takes as long as the other.

Two times are given. The whole one is what a user waits, compilation included: each
learning rate is another program to `fit`. The other is that of the same work once it is
compiled: of the population when called again, of `fit` that of a longer run less that of a
shorter one.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.types import Array, Key

MODEL = fnn.models.mlp(128, 10)
OBJECTIVE = fnn.supervised(MODEL, fnn.losses.softmax_cross_entropy)


def main(
    data: str,
    networks: int = 64,
    singles: int = 3,
    epochs: int = 1,
    batch_size: int = 128,
    at_once: int = 1,
) -> dict[str, float]:
    """Measure, print, and return the seconds for each network."""
    (images, labels), _ = fnn.data.mnist(data)
    arrays = jnp.asarray(images.reshape(len(images), -1)), jnp.asarray(labels)
    rates = jnp.logspace(-3.5, -2.5, networks)
    keys = jax.random.split(jax.random.key(0), networks)

    def trained(member: tuple[Array, Key], data: Any) -> tuple[Any, Array]:
        rate, key = member
        train_state, history = fnn.train(
            OBJECTIVE,
            fnn.optimizers.Adam(rate),
            data,
            key=key,
            epochs=epochs,
            batch_size=batch_size,
        )
        return train_state.params, history["loss"]

    @jax.jit
    def together(rates: Array, keys: Key, data: Any) -> tuple[Any, Array]:
        mapped = at_once if at_once > 1 else None
        return jax.lax.map(lambda m: trained(m, data), (rates, keys), batch_size=mapped)

    def alone(i: int, epochs: int) -> fnn.training.FitResult:
        return fnn.fit(
            MODEL,
            fnn.losses.softmax_cross_entropy,
            fnn.optimizers.Adam(float(rates[i])),
            arrays,
            key=keys[i],
            epochs=epochs,
            batch_size=batch_size,
            progress=False,
        )

    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {networks} networks")
    seconds: dict[str, list[float]] = {}
    _, losses = timed(seconds, "together", together, rates, keys, arrays)
    for i in range(singles):
        result = timed(seconds, "fit", alone, i, epochs)
        timed(seconds, "fit, compiled", alone, i, epochs)
        timed(seconds, "fit, longer", alone, i, 2 * epochs)
        compare(i, losses[i], result)
    timed(seconds, "together, compiled", together, rates, keys, arrays)
    return report(seconds, networks)


def compare(i: int, losses: Array, alone: fnn.training.FitResult) -> None:
    """Show how far the losses of a member are from those of `fit`."""
    differences = np.abs(np.asarray(losses) / alone.history["loss"] - 1)
    print(f"network {i}: losses differ by {differences.max():.1e} of themselves")


def report(seconds: dict[str, list[float]], networks: int) -> dict[str, float]:
    """Print and return the seconds for one network."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    longer = medians.pop("fit, longer")
    medians["fit, compiled"] = longer - medians["fit, compiled"]
    for name in ("together", "together, compiled"):
        medians[name] /= networks
    for suffix in ("", ", compiled"):
        ratio = medians[f"together{suffix}"] / medians[f"fit{suffix}"]
        for name in ("fit", "together"):
            print(f"{name + suffix:20} {medians[name + suffix]:7.3f} s for a network")
        print(f"{'':20} {ratio:7.2f} of fit")
    return medians


def timed(seconds: dict[str, list[float]], name: str, run: Any, *arguments: Any) -> Any:
    """Run, and note the time."""
    began = time.perf_counter()
    result = jax.block_until_ready(run(*arguments))
    seconds.setdefault(name, []).append(time.perf_counter() - began)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--singles", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--at-once", type=int, default=1)
    given = parser.parse_args()
    main(
        given.data,
        given.networks,
        given.singles,
        given.epochs,
        given.batch_size,
        given.at_once,
    )
