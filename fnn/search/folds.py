"""Cross-validation of settings; the folds train together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from fnn import checks
from fnn.data.splits import k_fold
from fnn.search.results import Results
from fnn.search.search_loop import Rung, run_search
from fnn.search.setups import Setup
from fnn.search.spaces import Choice, Setting
from fnn.search.trials import Data, Population, Replicates
from fnn.training.placing import on_device
from fnn.types import Key


def cross_validate(
    setup: Setup,
    settings: Sequence[Setting],
    data: Data,
    *,
    k: int,
    key: Key,
    epochs: int,
    batch_size: int,
    stratify: ArrayLike | None = None,
    metric: str = "val_loss",
    grows: bool = False,
    at_once: int = 32,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Train each setting k times, and judge it each time on another k-th of the data.

    Folds of one size train together, as do settings that differ only in numbers.

    Source: Stone 1974, "Cross-validatory choice and assessment of statistical
    predictions".

    Args:
        setup: Objective and optimizer, or a function from a setting to them, as for
            `Study`.
        settings: Values by name, all with the same names; `[{}]` judges a pair as it is.
        data: Inputs and targets, (x, y).
        k: Number of folds.
        key: A typed key, by which the data is divided too.
        epochs: Number of passes over the data.
        batch_size: Number of examples in a step.
        stratify: Labels, (examples,), to give every fold a k-th of each class.
        metric: Name in the history by which settings are ranked.
        grows: Whether a larger metric is better.
        at_once: Largest number of networks to train together.
        checkpoint: A file for trials, each written as soon as it is trained. The same call
            resumes from it.
        progress: Whether to print the progress.

    Returns:
        A row for each setting: means over the folds, and the deviation of the metric.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If k is out of range, if settings differ in their names, if a path leads
            nowhere, if `train` refuses the data, if the history does not have the metric,
            or if the checkpoint is of another search.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> results = fnn.search.cross_validate(
        ...     (objective, fnn.optimizers.SGD(0.1)),
        ...     [{"optimizer.learning_rate": rate} for rate in (0.01, 0.1)],
        ...     (x, 2 * x),
        ...     k=4,
        ...     key=jax.random.key(0),
        ...     epochs=5,
        ...     batch_size=8,
        ...     progress=False,
        ... )
        >>> results.best["trial"]
        1
    """
    names = list(settings[0]) if settings else []
    if not settings or any(list(setting) != names for setting in settings):
        raise ValueError(
            f"settings must be a non-empty sequence of dicts with the same names, "
            f"got {settings!r}"
        )
    space = {name: Choice(tuple(s[name] for s in settings)) for name in names}
    epochs = checks.positive_integer("epochs", epochs)
    fold_key, seed_key = jax.random.split(checks.typed_key(key, "cross_validate"))
    folds = k_fold(on_device(data, "data"), k, key=fold_key, stratify=stratify)
    replicates = _fold_replicates(folds, seed_key)
    population = Population(setup, space, settings, replicates, batch_size, at_once)
    rungs = [Rung(len(settings), epochs)]
    return run_search(population, rungs, metric, grows, checkpoint, progress)


def _fold_replicates(folds: Iterable[tuple[Any, Any]], key: Key) -> tuple[Replicates, ...]:
    """Stack the folds of each size; each fold has its own key."""
    sizes: dict[int, list[tuple[Any, Any]]] = {}
    for fold in folds:
        sizes.setdefault(checks.leading_length(fold[1], "a fold"), []).append(fold)
    stacks = [jax.tree.map(lambda *a: jnp.stack(a), *some) for some in sizes.values()]
    keys = jax.random.split(key, len(stacks))
    return tuple(
        Replicates(jax.random.split(keys[i], len(some)), train, validation, stacked=True)
        for i, (some, (train, validation)) in enumerate(
            zip(sizes.values(), stacks, strict=True)
        )
    )
