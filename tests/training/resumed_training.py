"""Train with checkpoints in a process of its own, which the tests kill or interrupt.

python tests/training/resumed_training.py CHECKPOINTS EVERY RESULT [EPOCH]

At the end of each epoch it prints its number. At the end of EPOCH it waits for a signal.
"""

import signal
import sys
import time

import jax
import numpy as np

import fnn
from fnn.checkpoint import Checkpointer
from fnn.training.running import resumption, runner


def train(
    checkpoint: Checkpointer | None, last_epoch: int | None = None
) -> fnn.training.FitResult:
    """Train a network with all that has a state: statistics, noise, moments, patience."""

    def say(end: fnn.training.EpochEnd) -> None:
        sys.stdout.write(f"{end.epoch}\n")
        sys.stdout.flush()
        while end.epoch == last_epoch:
            time.sleep(1)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(230, 6)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    model = fnn.Sequential(
        fnn.Dense(16), fnn.BatchNorm(), jax.nn.relu, fnn.Dropout(0.2), fnn.Dense(2)
    )
    return fnn.fit(
        model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(fnn.schedules.CosineDecay(0.01, 700)),
        (x[:200], y[:200]),
        key=jax.random.key(1),
        epochs=40,
        batch_size=12,
        validation=(x[200:], y[200:]),
        metrics={"accuracy": fnn.metrics.accuracy},
        early_stopping=fnn.EarlyStopping(30),
        checkpoint=checkpoint,
        callbacks=[say],
        progress=False,
    )


if __name__ == "__main__":
    runner.SECONDS_PER_PIECE = 0.01
    runner.FIRST_PIECE = 2
    resumption.SECONDS_BETWEEN_SAVES = 0.0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    folder, every, path, *last_epoch = sys.argv[1:]
    result = train(Checkpointer(folder, every=int(every)), *map(int, last_epoch))
    history = {k: jax.numpy.asarray(v) for k, v in result.history.items() if k != "seconds"}
    tree = {"params": result.params, "state": result.state, "history": history}
    fnn.checkpoint.save(path, tree)
