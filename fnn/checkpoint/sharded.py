"""Checkpoints of arrays that are spread over the devices of several processes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import jax

from fnn import checks
from fnn.checkpoint.leaves import data_of, generators_of, wrap
from fnn.checkpoint.series import Restored
from fnn.tree import map_with_path
from fnn.types import PyTree
from fnn.values import Value


class OrbaxCheckpointer(Value):
    """Keep the newest checkpoints of a run in a folder, each process writing its part.

    This is for arrays of which no process has the whole; `Checkpointer` is for all others.
    It needs the extra `orbax`, whose format it writes, a folder per checkpoint.

    Args:
        folder: Where the checkpoints are; all processes must see it.
        keep: How many of the newest are kept; None keeps all.

    Raises:
        ImportError: When used, if orbax-checkpoint is not installed.
        ValueError: If `keep` is not a positive integer.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> checkpointer = fnn.checkpoint.OrbaxCheckpointer(folder.name)
        >>> weights = {"w": jax.numpy.ones(2)}
        >>> with checkpointer.open() as writer:
        ...     writer.save(10, weights, metrics={"loss": 0.5})
        >>> checkpointer.restore(weights)[:3]
        ({'w': Array([1., 1.], dtype=float32)}, 10, {'loss': 0.5})
        >>> folder.cleanup()
    """

    folder: str | PathLike[str]
    keep: int | None = 3

    def __post_init__(self) -> None:
        self._set(folder=fspath(self.folder))
        if self.keep is not None:
            self._set(keep=checks.positive_integer("keep", self.keep))

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint, or None if there is none."""
        with self._manager() as manager:
            step = manager.latest_step()
        return None if step is None else int(step)

    def restore(self, template: PyTree, step: int | None = None) -> Restored:
        """Read the newest checkpoint, or that of a step.

        Args:
            template: Arrays or `jax.ShapeDtypeStruct`s, on whose devices the values come,
                however they were spread when they were saved.
            step: Of the checkpoint; by default it is the newest.

        Raises:
            FileNotFoundError: If there is no checkpoint.
            ValueError: If the checkpoint does not fit the template.
        """
        from orbax.checkpoint import args

        with self._manager() as manager:
            step = manager.latest_step() if step is None else step
            if step is None:
                raise FileNotFoundError(f"{self.folder} has no checkpoint")
            specs = jax.eval_shape(data_of, template)
            placed = jax.tree.map(_place, specs, template)
            parts = args.Composite(
                tree=args.StandardRestore(placed), metadata=args.JsonRestore()
            )
            found = manager.restore(step, args=parts)
        notes, generators = found.metadata, found.metadata["generators"]
        tree = map_with_path(
            lambda path, leaf: wrap(leaf, generators.get(path)), found.tree
        )
        return Restored(tree, int(step), notes["metrics"], notes["metadata"])

    @contextmanager
    def open(self) -> Iterator["OrbaxWriter"]:
        """Open the folder for writing; at the end, wait for what is being written."""
        with self._manager() as manager:
            yield OrbaxWriter(manager)
            manager.wait_until_finished()

    def _manager(self) -> Any:
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "OrbaxCheckpointer needs orbax-checkpoint: pip install 'fnn[orbax]'"
            ) from error
        options = ocp.CheckpointManagerOptions(max_to_keep=self.keep)
        return ocp.CheckpointManager(Path(self.folder).resolve(), options=options)


class OrbaxWriter:
    """Write checkpoints of a run; `OrbaxCheckpointer.open` makes one."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def save(
        self,
        step: int,
        tree: PyTree,
        *,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint in the background; every process must call this."""
        from orbax.checkpoint import args

        notes = {
            "generators": generators_of(tree),
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "metadata": dict(metadata or {}),
        }
        parts = args.Composite(
            tree=args.StandardSave(data_of(tree)), metadata=args.JsonSave(notes)
        )
        self._manager.save(step, args=parts)


def _place(spec: Any, leaf: Any) -> Any:
    """Return a spec on the devices of the leaf of a template, unless that is a key."""
    same = spec.shape == leaf.shape
    return spec.update(sharding=getattr(leaf, "sharding", None) if same else None)
