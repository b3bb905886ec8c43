"""Parameters and both moments of Adam, to files and back, each library in a process."""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suite import Program, RefusedError

DEPTHS = {"22 MB": 1, "220 MB": 17}  # how many layers of 1024 units follow the first
FOLDER = tempfile.TemporaryDirectory()

Tree = Mapping[str, Any]


def arrays(size: str) -> dict[str, Any]:
    """Return what is saved, by path."""
    sizes = [(784, 1024), *[(1024, 1024)] * DEPTHS[size], (1024, 10)]
    draw = np.random.default_rng(0)
    return {
        f"{kind}.dense_{i}.{name}": jnp.asarray(draw.standard_normal(shape, np.float32))
        for kind in ("params", "first_moment", "second_moment")
        for i, (inputs, outputs) in enumerate(sizes)
        for name, shape in (("kernel", (inputs, outputs)), ("bias", (outputs,)))
    }


def on_host(tree: Tree) -> dict[str, Any]:
    """Return arrays as NumPy's."""
    return {path: np.asarray(leaf) for path, leaf in tree.items()}


def norm(tree: Tree) -> float:
    """Return the norm of all arrays together."""
    leaves = on_host(tree).values()
    return float(np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in leaves)))


def program(
    case: str, save: Callable[[Path, Tree], Any], load: Callable[[Path, Tree], Tree]
) -> Program:
    """Return what saves, or loads what was saved; the proof is what is read back."""
    kind, size = case.split(", ")
    tree, path = arrays(size), Path(FOLDER.name, size)
    save(path, tree)
    run = functools.partial(save if kind == "save" else load, path, tree)
    return Program(run, proof=[norm(load(path, tree))])


def fnn_checkpoint(case: str) -> Program:
    """Whole or not there, brought to the disk, verified by SHA-256."""
    from fnn import checkpoint

    return program(case, checkpoint.save, checkpoint.load)


def fnn_in_a_step(case: str) -> Program:
    """The part for which `Checkpointer` makes a step wait."""
    from fnn.checkpoint import Checkpointer

    kind, size = case.split(", ")
    if kind == "load":
        raise RefusedError("saves only")
    tree, checkpointer = arrays(size), Checkpointer(Path(FOLDER.name, size), keep=1)

    def run() -> float:
        with checkpointer.open() as writer:
            began = time.perf_counter()
            writer.save(0, tree)
            return time.perf_counter() - began

    run()
    return Program(run, proof=[norm(checkpointer.restore(tree).tree)], clocked=True)


def plain_bytes(case: str) -> Program:
    """As many bytes in one file, brought to the disk: the least there is."""

    def save(path: Path, tree: Tree) -> None:
        with path.open("wb") as file:
            for leaf in tree.values():
                np.asarray(leaf).tofile(file)
            os.fsync(file.fileno())

    def load(path: Path, _: Tree) -> Tree:
        return {"all": np.fromfile(path, np.float32)}

    return program(case, save, load)


def numpy_savez(case: str) -> Program:
    """Not brought to the disk, CRC-32."""

    def save(path: Path, tree: Tree) -> None:
        np.savez(path.with_suffix(".npz"), **on_host(tree))

    def load(path: Path, _: Tree) -> Tree:
        with np.load(path.with_suffix(".npz")) as file:
            return dict(file)

    return program(case, save, load)


def safetensors_file(case: str) -> Program:
    """Not brought to the disk, not verified."""
    from safetensors import numpy

    def save(path: Path, tree: Tree) -> None:
        numpy.save_file(on_host(tree), path)

    return program(case, save, lambda path, _: numpy.load_file(path))


def orbax_checkpoint(case: str) -> Program:
    """Whole or not there, a folder of files."""
    import orbax.checkpoint as ocp

    orbax = ocp.StandardCheckpointer()

    def save(path: Path, tree: Tree) -> None:
        orbax.save(path, tree, force=True)
        orbax.wait_until_finished()

    def load(path: Path, tree: Tree) -> Tree:
        return jax.block_until_ready(orbax.restore(path, tree))

    return program(case, save, load)
