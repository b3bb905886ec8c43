"""Searches whose trials are known before the first is trained."""

from pathlib import Path

from fnn.search.populations import Data, Population, seeded
from fnn.search.results import Results
from fnn.search.running import opened
from fnn.search.setups import Setup
from fnn.search.spaces import (
    Space,
    draw_key,
    grid_settings,
    quasi_random_settings,
    random_settings,
)
from fnn.types import Key


def grid(
    setup: Setup,
    space: Space,
    data: Data,
    *,
    validation: Data,
    key: Key,
    epochs: int,
    batch_size: int,
    points: int = 5,
    seeds: int = 1,
    metric: str = "val_loss",
    grows: bool = False,
    at_once: int = 32,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Train with every combination of values.

    All but `points` is as in `random`.

    Args:
        setup: Objective and optimizer; see `random`.
        space: Distributions by name; all options of a `Choice` and all `Integers` are
            tried.
        data: Inputs and targets.
        validation: Inputs and targets that are evaluated.
        key: A typed key.
        epochs: How often every example is used.
        batch_size: How many examples make a step.
        points: How many values of a range of numbers are tried, its ends included.
        seeds: How often each trial is trained.
        metric: By what trials are ranked.
        grows: Whether the metric is better the larger it is.
        at_once: How many networks are trained together at most.
        checkpoint: A file for finished trials.
        progress: Whether to print how the search goes.

    Returns:
        A row for each trial, in the order of the grid, the last name changing fastest.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `random` would raise one, or `points` is no positive integer.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> results = fnn.search.grid(
        ...     (objective, fnn.optimizers.SGD(0.1)),
        ...     {"optimizer.learning_rate": fnn.search.LogUniform(1e-3, 1e-1)},
        ...     (x, 2 * x),
        ...     validation=(x, 2 * x),
        ...     key=jax.random.key(0),
        ...     epochs=5,
        ...     batch_size=8,
        ...     points=3,
        ...     progress=False,
        ... )
        >>> results.best["optimizer.learning_rate"]
        0.1
    """
    settings = grid_settings(space, points)
    replicates = seeded(key, seeds, data, validation)
    population = Population(setup, space, settings, replicates, batch_size, at_once)
    with opened(population, metric, grows, checkpoint, progress) as search:
        return search.all(epochs)


def random(
    setup: Setup,
    space: Space,
    data: Data,
    *,
    validation: Data,
    key: Key,
    trials: int,
    epochs: int,
    batch_size: int,
    seeds: int = 1,
    metric: str = "val_loss",
    grows: bool = False,
    at_once: int = 32,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Train with values drawn at random.

    Trials that differ only in numbers, such as learning rates, train together under
    `jax.vmap` in one compiled call, `at_once` networks at a time. Sizes, activations and
    whatever else can't be traced divide them into groups, each compiled by itself. Each
    trial is what `fit` gives with the same values and key.

    Source: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".

    Args:
        setup: The pair (objective, optimizer), as for `train`. The names of the space are
            then paths to fields: `"optimizer.learning_rate"`, or from a field of the
            objective on, `"model.layers.2.features"`, `"regularizer.strength"`. Or a
            function from a setting, a dictionary with a value for each name, to such a
            pair.
        space: A distribution for each name: `LogUniform`, `Uniform`, `Integers`, `Choice`.
        data: Inputs and targets, (x, y).
        validation: Inputs and targets that are evaluated.
        key: A typed key, of which the settings are made. The keys of the seeds are
            `jax.random.split(key, seeds)`.
        trials: How many settings are tried.
        epochs: How often every example is used.
        batch_size: How many examples make a step.
        seeds: How often each trial is trained, always with the same keys. Figures are
            means, and `deviation` is the standard deviation of the metric.
        metric: By what trials are ranked: a name of the history, after the last epoch.
        grows: Whether the metric is better the larger it is.
        at_once: How many networks are trained together at most, which bounds the memory.
            With 1 they still share a program; a CPU that one network keeps busy is fastest
            so.
        checkpoint: A file to which trials are written as soon as they are trained. The same
            call goes on from there.
        progress: Whether to print how the search goes.

    Returns:
        A row for each trial, in the order in which they were drawn.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a path leads nowhere, if `train` refuses the data, if there is no
            such metric, or if the checkpoint is of another search.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
        >>> def setup(values):
        ...     model = fnn.models.mlp(values["width"], 1)
        ...     objective = fnn.supervised(model, fnn.losses.squared_error)
        ...     return objective, fnn.optimizers.Adam(values["rate"])
        >>> space = {
        ...     "rate": fnn.search.LogUniform(1e-3, 1e-1),
        ...     "width": fnn.search.Choice((4, 8)),
        ... }
        >>> results = fnn.search.random(
        ...     setup,
        ...     space,
        ...     (x, x**2),
        ...     validation=(x, x**2),
        ...     key=jax.random.key(0),
        ...     trials=6,
        ...     epochs=5,
        ...     batch_size=8,
        ...     progress=False,
        ... )
        >>> sorted(results.best)[:4]
        ['deviation', 'diverged', 'epochs', 'learning_rate']
    """
    settings = random_settings(space, trials, draw_key(key))
    replicates = seeded(key, seeds, data, validation)
    population = Population(setup, space, settings, replicates, batch_size, at_once)
    with opened(population, metric, grows, checkpoint, progress) as search:
        return search.all(epochs)


def quasi_random(
    setup: Setup,
    space: Space,
    data: Data,
    *,
    validation: Data,
    key: Key,
    trials: int,
    epochs: int,
    batch_size: int,
    seeds: int = 1,
    metric: str = "val_loss",
    grows: bool = False,
    at_once: int = 32,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Train with values that cover the space more evenly than random ones.

    They are the first points of Halton's sequence, from `scipy.stats.qmc`, all shifted by
    one random vector. SciPy is there, as JAX needs it.

    Source: Halton 1960; Cranley & Patterson 1976; Bousquet et al. 2017, "Critical
    hyper-parameters: no random, no cry".

    Args:
        setup: Objective and optimizer, or a function from a setting to them; this and all
            that follows is as in `random`.
        space: A distribution for each name.
        data: Inputs and targets, (x, y).
        validation: Inputs and targets that are evaluated.
        key: A typed key.
        trials: How many settings are tried.
        epochs: How often every example is used.
        batch_size: How many examples make a step.
        seeds: How often each trial is trained.
        metric: By what trials are ranked.
        grows: Whether the metric is better the larger it is.
        at_once: How many networks are trained together at most.
        checkpoint: A file for finished trials.
        progress: Whether to print how the search goes.

    Returns:
        A row for each trial.

    Raises:
        TypeError: As `random` does.
        ValueError: As `random` does.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> results = fnn.search.quasi_random(
        ...     (objective, fnn.optimizers.SGD(0.1)),
        ...     {"optimizer.learning_rate": fnn.search.LogUniform(1e-3, 1e-1)},
        ...     (x, 2 * x),
        ...     validation=(x, 2 * x),
        ...     key=jax.random.key(0),
        ...     trials=4,
        ...     epochs=5,
        ...     batch_size=8,
        ...     progress=False,
        ... )
        >>> len(results.rows)
        4
    """
    settings = quasi_random_settings(space, trials, draw_key(key))
    replicates = seeded(key, seeds, data, validation)
    population = Population(setup, space, settings, replicates, batch_size, at_once)
    with opened(population, metric, grows, checkpoint, progress) as search:
        return search.all(epochs)
