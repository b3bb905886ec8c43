"""`fnn.fit` against hand-written JAX: an epoch of MNIST, 784-128-10, Adam.

    python -m benchmarks.training_step --data FOLDER [--rounds 15] [--batch-size 128]

The rivals share the data, the initial weights and the optimizer, and run interleaved in one
process. Both hand-written loops are as fast as we could make them:

    scan    one compiled `lax.scan` over an epoch, rows gathered inside
    step    a jitted, donated step, called from the host with rows gathered by NumPy

Their order is drawn by NumPy on the host, which costs less than `jax.random.permutation`.
The time of an epoch is that of a run of several epochs less that of a run of one, divided
by the epochs in between; so it contains all that a longer run costs. Compilation is timed
apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn

EPOCHS = 5
MODEL = fnn.Sequential(fnn.Flatten(), fnn.Dense(128), jax.nn.relu, fnn.Dense(10))
OPTIMIZER = fnn.optimizers.Adam(1e-3)


class Adam(NamedTuple):
    """The state of the hand-written optimizer."""

    m: Any
    v: Any
    t: jax.Array


def initial(params: Any) -> tuple[Any, Adam]:
    """Return parameters and optimizer state before the first step."""
    m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    return params, Adam(m, v, jnp.float32(0))


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of a batch."""
    hidden = jax.nn.relu(x @ params["dense_0"]["kernel"] + params["dense_0"]["bias"])
    logits = hidden @ params["dense_1"]["kernel"] + params["dense_1"]["bias"]
    picked = jnp.where(y[:, None] == jnp.arange(10), logits, 0).sum(1)
    return (jax.nn.logsumexp(logits, axis=1) - picked).mean()


def train_step(carry: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
    """Take one step of Adam, written out by hand."""
    params, (m, v, t) = carry
    value, grads = jax.value_and_grad(loss)(params, x, y)
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    a, c = 1e-3 / (1 - 0.9**t), 1 / (1 - 0.999**t)
    params = jax.tree.map(
        lambda p, m, v: p - a * m / (jnp.sqrt(c * v) + 1e-8), params, m, v
    )
    return (params, Adam(m, v, t)), value


@jax.jit
def scan_epoch(carry: Any, x: jax.Array, y: jax.Array, order: Any) -> tuple[Any, jax.Array]:
    """Run an epoch in one compiled loop; `order` is (steps, batch)."""
    carry, losses = jax.lax.scan(
        lambda c, rows: train_step(c, x[rows], y[rows]), carry, order
    )
    return carry, losses.mean()


jitted_step = jax.jit(train_step, donate_argnums=0)


def step_epoch(carry: Any, x: Any, y: Any, order: Any) -> tuple[Any, Any]:
    """Run an epoch step by step from the host; x and y are NumPy's."""
    losses = []
    for rows in order:
        carry, value = jitted_step(carry, x[rows], y[rows])
        losses.append(value)
    return carry, jnp.stack(losses).mean()


def run_by_hand(
    epoch: Callable[..., Any], params: Any, data: Any, orders: Any
) -> list[float]:
    """Train for as many epochs as there are orders; return the mean loss of each."""
    carry = jax.tree.map(jnp.copy, initial(params))
    history = []
    for order in orders:
        carry, value = epoch(carry, *data, order() if callable(order) else order)
        history.append(float(value))
    return history


def run_fit(params: Any, data: Any, epochs: int, batch_size: int) -> list[float]:
    """Train by `fnn.fit`; return the mean loss of each epoch."""
    result = fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        OPTIMIZER,
        data,
        key=jax.random.key(0),
        epochs=epochs,
        batch_size=batch_size,
        params=params,
        progress=False,
    )
    return [float(value) for value in result.history["loss"]]


def main(data: str, rounds: int = 15, batch_size: int = 128) -> dict[str, float]:
    """Measure, print, and return the median time of an epoch of each, in seconds."""
    (images, labels), _ = fnn.data.mnist(data)
    steps = len(images) // batch_size
    n = steps * batch_size  # whole batches, so that all do the same work
    host = images[:n].reshape(n, -1), labels[:n]
    device = jax.tree.map(jnp.asarray, host)
    params, _ = MODEL.init(jax.random.key(1), device[0][0])
    rng = np.random.default_rng(0)

    def orders(epochs: int) -> list[Callable[[], Any]]:
        return [lambda: rng.permutation(n).reshape(steps, batch_size)] * epochs

    rivals: dict[str, Callable[[int], list[float]]] = {
        "scan": lambda epochs: run_by_hand(scan_epoch, params, device, orders(epochs)),
        "step": lambda epochs: run_by_hand(step_epoch, params, host, orders(epochs)),
        "fit": lambda epochs: run_fit(params, device, epochs, batch_size),
    }
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {rounds} rounds")
    for name, run in rivals.items():
        print(f"{name:5} first epoch, with compilation {timed(run, 1):6.2f} s")
    check_same_work(params, device, n, batch_size)
    samples: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            longer, shorter = timed(run, 1 + EPOCHS), timed(run, 1)
            samples[name].append((longer - shorter) / EPOCHS)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    best = min(medians["scan"], medians["step"])
    for name, values in samples.items():
        spread = f"{1e3 * min(values):.1f} to {1e3 * max(values):.1f}"
        print(
            f"{name:5} {1e3 * medians[name]:7.1f} ms an epoch ({spread}), "
            f"{medians[name] / best:.3f} of the best hand-written loop"
        )
    return medians


def check_same_work(params: Any, data: Any, n: int, batch_size: int) -> None:
    """Show that `fit` and the loop by hand, given the same order, have the same losses."""
    _, order_key, _ = jax.random.split(jax.random.key(0), 3)
    orders = [
        fnn.data.permutation(jax.random.fold_in(order_key, epoch), n).reshape(
            -1, batch_size
        )
        for epoch in range(2)
    ]
    ours, by_hand = (
        run_fit(params, data, 2, batch_size),
        run_by_hand(scan_epoch, params, data, orders),
    )
    print("losses of two epochs: fit", ours, "by hand", by_hand)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-3)


def timed(run: Callable[[int], Any], epochs: int) -> float:
    """Return the seconds that a run takes."""
    began = time.perf_counter()
    run(epochs)
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    main(arguments.data, arguments.rounds, arguments.batch_size)
