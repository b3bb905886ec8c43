"""One of several processes that train together, each on two simulated devices.

    process_training.py CHECKPOINTS RESULT COORDINATOR PROCESSES PROCESS [EPOCH]

The first writes the parameters and the history to the file RESULT. With EPOCH, the last
process raises an exception at the end of that epoch.
"""

import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

import fnn
from fnn.checkpoint import Checkpointer
from fnn.sharding import FullySharded, make_mesh, start_processes

MODEL = fnn.Sequential(fnn.Dense(16), jax.nn.relu, fnn.Dense(4))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 8)).astype("float32")
Y = RNG.integers(0, 4, 50)


class Watched:
    """An array that is not in memory, and notes which rows of it are read."""

    def __init__(self, array):
        self.array, self.rows = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows):
        self.rows.append(rows)
        return self.array[rows]


def train(checkpoint=None, data=(X, Y), epochs=30, **options):
    """Fit to data that the batch size does not divide."""
    return fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(1e-2),
        data,
        key=jax.random.key(1),
        epochs=epochs,
        batch_size=16,
        validation=(X[:30], Y[:30]),
        checkpoint=checkpoint,
        **options,
    )


def main(folder, result, coordinator, processes, process, failing_epoch=None):
    start_processes(coordinator, int(processes), int(process), timeout=60, heartbeat=10)

    def fail(end):
        if process == "1" and str(end.epoch) == failing_epoch:
            raise KeyError("no such column")

    trained = train(
        Checkpointer(folder, keep=None, asynchronous=False),
        mesh=make_mesh(),
        sharding=FullySharded(),
        callbacks=[fnn.training.LogToFile(f"{folder}.jsonl"), fail],
    )
    x = Watched(X)
    streamed = train(data=fnn.data.Streamed(x, Y), epochs=1, mesh=make_mesh())
    np.savez(f"{result}.{process}.rows", read=np.concatenate(x.rows[2:]))
    replicated = fnn.sharding.Layout(make_mesh()).place_everywhere(trained.params)
    if process == "0":
        leaves = fnn.tree.flatten(replicated)
        own = {"/loss": trained.history["loss"], "/streamed": streamed.history["loss"]}
        np.savez(Path(result), **leaves, **own)


if __name__ == "__main__":
    main(*sys.argv[1:])
