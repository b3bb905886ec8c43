"""The images of an epoch, and what an epoch takes of a call that trains for some."""

import os
import time
from collections.abc import Callable
from typing import Any

import fnn
from benchmarks.epoch import CASES
from benchmarks.suite import RefusedError
from benchmarks.training.networks import SHAPES

EPOCHS = 3  # by which the longer run is longer


def mnist(case: str) -> tuple[Any, Any]:
    """Return images as the network takes them, with channels last, and labels."""
    if not (folder := os.environ.get("BENCHMARKS_DATA")):
        raise RefusedError("needs --data, the folder with the MNIST files")
    (images, labels), _ = fnn.data.mnist(folder)
    count = CASES[case]
    shape = SHAPES.get(case, (784,))
    return images[:count].reshape(count, *shape), labels[:count].astype("int32")


def seconds_per_epoch(train: Callable[[int], Any]) -> float:
    """Return the seconds of an epoch: of a longer run, less those of a shorter one."""

    def seconds(epochs: int) -> float:
        began = time.perf_counter()
        train(epochs)
        return time.perf_counter() - began

    return (seconds(1 + EPOCHS) - seconds(1)) / EPOCHS
