"""`fnn.fit`, silent and on resident data, and with more to do."""

import contextlib
import io
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.epoch import BATCH
from benchmarks.epoch.data import mnist, seconds_per_epoch
from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.fnn_step import network

SCRATCH = tempfile.TemporaryDirectory()


def fit(case: str, data: Any, epochs: int, **options: Any) -> Any:
    """Train a network for some epochs."""
    loss, adam = fnn.losses.softmax_cross_entropy, fnn.optimizers.Adam(networks.RATE)
    sizes: dict[str, Any] = {"epochs": epochs, "batch_size": BATCH}
    arguments: dict[str, Any] = (
        {"key": jax.random.key(0), "progress": False} | sizes | options
    )
    return fnn.fit(network(case), loss, adam, data, **arguments)


def resident(case: str) -> Any:
    """Return the data, on the device, copied there once at most."""
    return jax.block_until_ready(jax.device_put(mnist(case)))


def program(train: Callable[[int], Any]) -> Program:
    """Return an epoch of what trains for some; the proof is losses and parameters."""
    params, _, history = train(2)
    sums = [float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(params)]
    proof = [*history["loss"], *sums]
    return Program(lambda: seconds_per_epoch(train), {}, proof, clocked=True)


def silent(case: str) -> Program:
    """Return an epoch on resident data."""
    data = resident(case)
    return program(lambda epochs: fit(case, data, epochs))


def watched(case: str) -> Program:
    """Return an epoch with a line for it, and a callback that logs to a file."""
    data = resident(case)
    log = fnn.training.LogToFile(str(Path(SCRATCH.name, "log.jsonl")))

    def train(epochs: int) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return fit(case, data, epochs, progress=True, callbacks=[log])

    return program(train)


def checkpoints(case: str) -> Program:
    """Return an epoch with a checkpoint after it, written in the background."""
    data = resident(case)
    runs = (str(Path(SCRATCH.name, f"run{index}")) for index in itertools.count())
    return program(lambda epochs: fit(case, data, epochs, checkpoint=next(runs)))


def streamed(case: str) -> Program:
    """Return an epoch from memory-mapped files."""
    mapped = []
    for name, array in zip("xy", mnist(case), strict=True):
        file = Path(SCRATCH.name, f"{name}.npy")
        np.save(file, array)
        mapped.append(np.load(file, mmap_mode="r"))
    return program(lambda epochs: fit(case, fnn.data.Streamed(*mapped), epochs))
