"""Keras' `fit`, on JAX."""

from typing import Any

import keras

from benchmarks.epoch import BATCH
from benchmarks.epoch.data import mnist, seconds_per_epoch
from benchmarks.suite import Program
from benchmarks.training.keras_step import compiled


def build(case: str) -> Program:
    """Return an epoch of a case."""
    keras.utils.set_random_seed(0)
    data, model = mnist(case), compiled(case)

    def train(epochs: int) -> Any:
        return model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0)

    losses = train(2).history["loss"]
    return Program(lambda: seconds_per_epoch(train), {}, losses, clocked=True)
