"""Cross-validation of settings, whose folds train together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from fnn import checks
from fnn.data.splits import k_fold
from fnn.search.populations import Data, Population, Replicates
from fnn.search.results import Results
from fnn.search.running import opened
from fnn.search.setups import Setup
from fnn.search.spaces import Choice, Setting
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
    """Train each setting k times, each time without another k-th of the data to judge by.

    Folds of one size train together, as do settings that differ only in numbers.

    Source: Stone 1974, "Cross-validatory choice and assessment of statistical
    predictions".

    Args:
        setup: Objective and optimizer, or a function from a setting to them; what is not
            explained here is as in `random`.
        settings: Values by name, all with the same names; `[{}]` judges a pair as it is.
        data: Inputs and targets, (x, y).
        k: The number of folds.
        key: A typed key, by which the data is divided too.
        epochs: How often every example is used.
        batch_size: How many examples make a step.
        stratify: Labels, (examples,), if every fold is to have a k-th of each class.
        metric: By what settings are ranked.
        grows: Whether the metric is better the larger it is.
        at_once: How many networks are trained together at most.
        checkpoint: A file for finished trials.
        progress: Whether to print how the search goes.

    Returns:
        A row for each setting: means over the folds, and the deviation of the metric.

    Raises:
        TypeError: As `random` does.
        ValueError: As `random` does, if k is out of range, or if settings differ in their
            names.

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
        raise ValueError(f"settings must be some, with the same names, got {settings!r}")
    space = {name: Choice(tuple(s[name] for s in settings)) for name in names}
    fold_key, seed_key = jax.random.split(checks.typed_key(key, "cross_validate"))
    folds = k_fold(on_device(data, "data"), k, key=fold_key, stratify=stratify)
    replicates = _of_one_size(folds, seed_key)
    population = Population(setup, space, settings, replicates, batch_size, at_once)
    with opened(population, metric, grows, checkpoint, progress) as search:
        return search.all(epochs)


def _of_one_size(folds: Iterable[tuple[Any, Any]], key: Key) -> tuple[Replicates, ...]:
    """Stack the folds of each size; they have keys of their own."""
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
