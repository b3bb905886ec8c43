"""Checkpoints against other ways: the state of Adam for two million parameters.

    python -m benchmarks.checkpoint [--rounds 15]

The rivals save and load the same tree (22 MB), interleaved in one process, each to a file
or folder of its own. What they promise differs:

    fnn           whole or not there, brought to the disk, verified by SHA-256
    in a step     of that, what `Checkpointer` keeps a step waiting for, when asynchronous
    bytes         as many bytes in one file, brought to the disk: the least there is
    savez         NumPy's; not brought to the disk, CRC-32
    safetensors   the package's; not brought to the disk, not verified
    orbax         whole or not there, a folder of files
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy

import fnn

MODEL = fnn.models.mlp(1024, 1024, 10)


def train_state() -> fnn.TrainState:
    """Return the state of training before the first step."""
    key = jax.random.key(0)
    params, state = MODEL.init(key, jnp.ones(784))
    return fnn.TrainState.create(params, state, fnn.optimizers.Adam(1e-3), key=key)


def arrays(tree: Any) -> dict[str, Any]:
    """Return the leaves by path on the host, keys as their data."""
    data = tree._replace(key=jax.random.key_data(tree.key))
    return {path: np.asarray(leaf) for path, leaf in fnn.tree.flatten(data).items()}


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes and bring them to the disk."""
    with path.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def milliseconds(run: Callable[[], Any]) -> float:
    """Return how long a run takes."""
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def main(rounds: int = 15) -> None:
    """Measure and print the median times in milliseconds."""
    tree = train_state()
    folder = Path(tempfile.mkdtemp())
    content = bytes(fnn.tree.nbytes(tree._replace(key=jnp.zeros(2, jnp.uint32))))
    orbax = ocp.StandardCheckpointer()
    plain = tree._replace(key=jax.random.key_data(tree.key))
    path = folder / "fnn"

    def save_orbax() -> None:
        orbax.save(folder / "orbax", plain, force=True)
        orbax.wait_until_finished()

    checkpointer = fnn.checkpoint.Checkpointer(folder / "run", keep=1)
    with checkpointer.open() as writer:
        rivals: dict[str, Callable[[], Any]] = {
            "save fnn": lambda: fnn.checkpoint.save(path, tree),
            "save in a step": lambda: writer.save(0, tree),
            "save bytes": lambda: write_bytes(folder / "bytes", content),
            "save savez": lambda: np.savez(folder / "savez.npz", **arrays(tree)),
            "save safetensors": lambda: safetensors.numpy.save_file(
                arrays(tree), folder / "safetensors"
            ),
            "save orbax": save_orbax,
            "load fnn": lambda: fnn.checkpoint.load(path, tree),
            "load bytes": (folder / "bytes").read_bytes,
            "load savez": lambda: dict(np.load(folder / "savez.npz")),
            "load safetensors": lambda: safetensors.numpy.load_file(folder / "safetensors"),
            "load orbax": lambda: orbax.restore(folder / "orbax", plain),
        }
        samples: dict[str, list[float]] = {name: [] for name in rivals}
        for _ in range(rounds):
            for name, run in rivals.items():
                samples[name].append(milliseconds(run))
                writer.wait()
    orbax.close()
    shutil.rmtree(folder)
    print(f"{len(content) / 1e6:.1f} MB, jax {jax.__version__}, {rounds} rounds")
    for name, values in samples.items():
        median, low, high = statistics.median(values), min(values), max(values)
        print(f"{name:17} {median:7.1f} ms ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    main(parser.parse_args().rounds)
