"""`fnn.fit`, on data on the device."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.epoch import BATCH
from benchmarks.epoch.data import mnist, seconds_per_epoch
from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.fnn_step import filled, network


def build(case: str) -> Program:
    """Return an epoch of a case."""
    data = jax.tree.map(jnp.asarray, mnist(case))
    model, adam = network(case), fnn.optimizers.Adam(networks.RATE)
    params, _ = model.init(jax.random.key(0), data[0][0])
    params = filled(params, iter(networks.weights(case)))

    def train(epochs: int) -> Any:
        return fnn.fit(
            model,
            fnn.losses.softmax_cross_entropy,
            adam,
            data,
            key=jax.random.key(0),
            epochs=epochs,
            batch_size=BATCH,
            params=params,
            progress=False,
        )

    losses = [float(loss) for loss in train(2).history["loss"]]
    return Program(lambda: seconds_per_epoch(train), {}, losses, clocked=True)
