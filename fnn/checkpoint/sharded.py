"""Checkpoints of arrays that are spread over the devices of several processes."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from fnn.checkpoint.leaves import OLD_STACK, data_of, generators_of, name_in_file, wrap
from fnn.checkpoint.series import Restored, Series
from fnn.checkpoint.writer import Best, check_ranked, due
from fnn.tree import STACK, flatten, map_with_path
from fnn.types import PyTree


class OrbaxCheckpointer(Series):
    """Keep the newest checkpoints of a run in a folder; each process writes its part.

    Use it for arrays that no process holds whole; `Checkpointer` is for all others. It
    needs the extra `orbax` and writes its format: a folder per checkpoint, named by its
    step. The newest checkpoint is the one of the largest step.

    Args:
        folder: The folder of the checkpoints; all processes must see it.
        keep: Number of newest checkpoints to keep; None keeps all.
        every: Number of steps between checkpoints, for `OrbaxWriter.due`.
        best: The metric whose best checkpoint is kept too, and whether its `"min"` or its
            `"max"` is best: `("val_accuracy", "max")`.
        asynchronous: Whether files are written in the background.

    Raises:
        ImportError: When used, if orbax-checkpoint is not installed.
        ValueError: If an argument is invalid.

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

    def steps(self) -> tuple[int, ...]:
        """Return the steps of the checkpoints, in increasing order."""
        with self._manager() as manager:
            return tuple(map(int, manager.all_steps()))

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint, or None without checkpoints."""
        with self._manager() as manager:
            step = manager.latest_step()
        return None if step is None else int(step)

    def best_step(self) -> int | None:
        """Return the step of the best checkpoint, or None if none has the metric."""
        if self.best is None:
            raise ValueError("best_step needs best=(metric, 'min' or 'max')")
        with self._manager() as manager:
            step = manager.best_step()
        return None if step is None else int(step)

    def restore(self, template: PyTree, step: int | None = None) -> Restored:
        """Read the newest checkpoint, or the one of a step.

        Args:
            template: Arrays or `jax.ShapeDtypeStruct`. The values are put on their devices,
                whatever the sharding was when they were saved.
            step: The checkpoint's step; by default the newest one.

        Raises:
            FileNotFoundError: If there are no checkpoints.
            ValueError: If the checkpoint does not fit the template.
        """
        from orbax.checkpoint import args

        with self._manager() as manager:
            step = manager.latest_step() if step is None else step
            if step is None:
                raise FileNotFoundError(f"{self.folder} has no checkpoint")
            specs = jax.eval_shape(data_of, template)
            placed = jax.tree.map(_place, specs, template)

            def read(placed: PyTree) -> Any:
                parts = args.Composite(
                    tree=args.StandardRestore(placed), metadata=args.JsonRestore()
                )
                return manager.restore(step, args=parts)

            try:
                found = read(placed)
            except (KeyError, ValueError):
                before = _with_old_names(placed)
                if flatten(before).keys() == flatten(placed).keys():
                    raise
                found = read(before)
        notes, generators = found.metadata, found.metadata["generators"]
        leaves, names = flatten(found.tree), flatten(placed)
        names = {path: name_in_file(path, leaves, names) for path in names}
        tree = map_with_path(
            lambda path, _: wrap(leaves[names[path]], generators.get(names[path])), placed
        )
        return Restored(tree, int(step), notes["metrics"], notes["metadata"])

    @contextmanager
    def open(self) -> Iterator["OrbaxWriter"]:
        """Open the folder for writing; at the end, wait for pending writes."""
        with self._manager() as manager:
            writer = OrbaxWriter(manager, self.every, self.best)
            yield writer
            writer.wait()

    def _manager(self) -> Any:
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "OrbaxCheckpointer needs orbax-checkpoint: pip install 'fnn[orbax]'"
            ) from error
        policies = ocp.checkpoint_managers
        kept: list[Any] = [policies.LatestN(self.keep)]
        ranking: dict[str, Any] = {}
        if self.best is not None:
            metric, direction = self.best
            ranking = {"best_fn": lambda found: found[metric], "best_mode": direction}
            best = policies.BestN(
                get_metric_fn=ranking["best_fn"],
                reverse=direction == "min",
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            kept.append(best)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            enable_async_checkpointing=self.asynchronous,
            **ranking,
        )
        return ocp.CheckpointManager(Path(self.folder).resolve(), options=options)


class OrbaxWriter:
    """Write checkpoints of a run; `OrbaxCheckpointer.open` makes one."""

    def __init__(self, manager: Any, every: int, best: Best | None) -> None:
        self._manager, self._every, self._best = manager, every, best

    def due(self, step: int) -> bool:
        """Return whether a multiple of `every` was reached since the newest checkpoint."""
        return due(step, self._every, self._manager.latest_step() or 0)

    def save(
        self,
        step: int,
        tree: PyTree,
        *,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint; every process must call this.

        It first waits until the one before it is written.

        Raises:
            ValueError: If the step is not greater than that of the newest checkpoint, or
                if there are metrics, but not the one of `best`.
        """
        from orbax.checkpoint import args

        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        check_ranked(self._best, numbers)
        notes = {
            "generators": generators_of(tree),
            "metrics": numbers,
            "metadata": dict(metadata or {}),
        }
        parts = args.Composite(
            tree=args.StandardSave(data_of(tree)), metadata=args.JsonSave(notes)
        )
        self.wait()
        newest = self._manager.latest_step()
        if newest is not None and step <= newest:
            raise ValueError(f"step must be more than the newest, {newest}, got {step}")
        self._manager.save(step, args=parts, metrics=self._ranked(numbers))

    def wait(self) -> None:
        """Wait for pending writes; raise their error."""
        self._manager.wait_until_finished()

    def _ranked(self, numbers: dict[str, float]) -> dict[str, float] | None:
        """Return the metric of `best`; a NaN is never the best."""
        metric = self._best[0] if self._best else ""
        value = numbers.get(metric, math.nan)
        return None if math.isnan(value) else {metric: value}


def _with_old_names(tree: PyTree) -> PyTree:
    """Return the tree with leaves under their older names, where `name_in_file` has one."""
    if isinstance(tree, dict):
        return {
            OLD_STACK if name == STACK else name: _with_old_names(part)
            for name, part in tree.items()
        }
    if isinstance(tree, tuple | list):
        parts = map(_with_old_names, tree)
        return tree._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    return tree


def _place(spec: Any, leaf: Any) -> Any:
    """Return a spec on the devices of a template's leaf, unless that leaf is a key."""
    same = spec.shape == leaf.shape
    return spec.update(sharding=getattr(leaf, "sharding", None) if same else None)
