"""What `fnn.fit` pays for watching, checkpoints and streaming: an epoch of MNIST.

    python -m benchmarks.fitting --data FOLDER [--rounds 9] [--batch-size 128]
                                 [--hidden 512 512]

The network is 784-128-10, unless other layers are named, trained by Adam. All variants take
the same steps to the same bits, which is checked, and run interleaved:

    plain        `fit` on resident data, silent
    watched      a line for each epoch, and a callback that logs to a file
    checkpoints  a checkpoint after each epoch, written in the background
    streamed     from memory-mapped files

Times are as in `benchmarks.training_step`.
"""

import argparse
import contextlib
import io
import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.training_step import EPOCHS, timed


def main(
    data: str, rounds: int = 9, batch_size: int = 128, hidden: tuple[int, ...] = (128,)
) -> None:
    """Measure and print."""
    model = fnn.models.mlp(*hidden, 10)

    def fit(data: Any, epochs: int, **options: Any) -> fnn.training.FitResult:
        arguments: dict[str, Any] = {"key": jax.random.key(0), "progress": False}
        loss, adam = fnn.losses.softmax_cross_entropy, fnn.optimizers.Adam(1e-3)
        sizes = {"epochs": epochs, "batch_size": batch_size}
        return fnn.fit(model, loss, adam, data, **(arguments | sizes | options))

    (images, labels), _ = fnn.data.mnist(data)
    arrays = images.reshape(len(images), -1), labels
    resident = jax.tree.map(jnp.asarray, arrays)
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip("xy", arrays, strict=True):
            np.save(Path(folder, f"{name}.npy"), array)
        mapped = [np.load(Path(folder, f"{name}.npy"), mmap_mode="r") for name in "xy"]
        runs = (str(Path(folder, f"run{i}")) for i in itertools.count())
        log = fnn.training.LogToFile(str(Path(folder, "log.jsonl")))

        def watched(epochs: int) -> Any:
            with contextlib.redirect_stdout(io.StringIO()):
                return fit(resident, epochs, progress=True, callbacks=[log])

        variants: dict[str, Callable[[int], Any]] = {
            "plain": lambda epochs: fit(resident, epochs),
            "watched": watched,
            "checkpoints": lambda epochs: fit(resident, epochs, checkpoint=next(runs)),
            "streamed": lambda epochs: fit(fnn.data.Streamed(*mapped), epochs),
        }
        measure(variants, rounds)


def measure(variants: dict[str, Callable[[int], Any]], rounds: int) -> None:
    """Time the variants in turns, and print the time of an epoch of each."""
    results = [run(2).params for run in variants.values()]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            longer, shorter = timed(run, 1 + EPOCHS), timed(run, 1)
            samples[name].append((longer - shorter) / EPOCHS)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {rounds} rounds")
    for name, values in samples.items():
        ratios = map(float.__truediv__, values, samples["plain"])
        print(
            f"{name:11} {1e3 * statistics.median(values):7.1f} ms an epoch "
            f"({1e3 * min(values):.1f} to {1e3 * max(values):.1f}), "
            f"{statistics.median(ratios):.3f} of plain"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128])
    arguments = parser.parse_args()
    main(arguments.data, arguments.rounds, arguments.batch_size, tuple(arguments.hidden))
