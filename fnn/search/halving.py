"""Successive halving: most of the training goes to the trials that promise most."""

from pathlib import Path

from fnn import checks
from fnn.search.populations import Data, Population, seeded
from fnn.search.results import Results
from fnn.search.running import Trained, opened
from fnn.search.setups import Setup
from fnn.search.spaces import Space, draw_key, random_settings
from fnn.types import Key


def successive_halving(
    setup: Setup,
    space: Space,
    data: Data,
    *,
    validation: Data,
    key: Key,
    trials: int,
    epochs: int,
    batch_size: int,
    factor: int = 3,
    least: int = 1,
    seeds: int = 1,
    metric: str = "val_loss",
    grows: bool = False,
    at_once: int = 32,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Train many trials for a short time, and the best of them for longer and longer.

    Trials drawn at random train for `least` epochs. The best 1/factor of them train on, up
    to factor times as many epochs in total, and so forth, until one is left or `epochs`
    are reached. Survivors go on from where they were.

    Source: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and
    hyperparameter optimization"; Li et al. 2018, "Hyperband".

    Args:
        setup: Objective and optimizer, or a function from a setting to them; what is not
            explained here is as in `random`.
        space: A distribution for each name.
        data: Inputs and targets, (x, y).
        validation: Inputs and targets that are evaluated.
        key: A typed key.
        trials: How many settings are drawn.
        epochs: How long the survivors of all rungs train at most, in total.
        batch_size: How many examples make a step.
        factor: The share that survives a rung is 1/factor, rounded down, but at least one.
        least: For how many epochs all trials train.
        seeds: How often each trial is trained.
        metric: By what trials are ranked.
        grows: Whether the metric is better the larger it is.
        at_once: How many networks are trained together at most.
        checkpoint: A file for what has been trained. A search that goes on from it trains
            survivors from their beginning, to the same figures.
        progress: Whether to print how the search goes.

    Returns:
        A row for each trial, with its figures after the last of its `epochs`.

    Raises:
        TypeError: As `random` does.
        ValueError: As `random` does, or if `factor` is below 2, or `least` is above
            `epochs`.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> results = fnn.search.successive_halving(
        ...     (objective, fnn.optimizers.SGD(0.1)),
        ...     {"optimizer.learning_rate": fnn.search.LogUniform(1e-3, 1e-1)},
        ...     (x, 2 * x),
        ...     validation=(x, 2 * x),
        ...     key=jax.random.key(0),
        ...     trials=6,
        ...     epochs=4,
        ...     batch_size=8,
        ...     factor=2,
        ...     progress=False,
        ... )
        >>> sorted(results.columns["epochs"])
        [1, 1, 1, 2, 2, 4]
    """
    rungs = rungs_of(trials, epochs, factor, least)
    settings = random_settings(space, trials, draw_key(key))
    replicates = seeded(key, seeds, data, validation)
    population = Population(setup, space, settings, replicates, batch_size, at_once)
    runs = sum(count for count, _ in rungs)
    with opened(population, metric, grows, checkpoint, progress, runs) as search:
        last = dict.fromkeys(range(trials), 0)
        survivors = list(last)
        held: dict[int, Trained] = {}
        for rung, (count, total) in enumerate(rungs):
            if rung > 0:
                scores = {trial: search.score(rung - 1, trial) for trial in survivors}
                survivors = sorted(sorted(survivors, key=scores.__getitem__)[:count])
            held = search.run(rung, survivors, total, held, keep=rung + 1 < len(rungs))
            last |= dict.fromkeys(survivors, rung)
        return search.results([(rung, trial) for trial, rung in last.items()])


def rungs_of(trials: int, epochs: int, factor: int, least: int) -> list[tuple[int, int]]:
    """Return how many trials train up to how many epochs, rung by rung."""
    for name, value in (("trials", trials), ("epochs", epochs), ("least", least)):
        checks.positive_integer(name, value)
    if checks.positive_integer("factor", factor) < 2:
        raise ValueError(f"factor must be at least 2, got {factor}")
    if least > epochs:
        raise ValueError(f"least must be at most epochs, {epochs}, got {least}")
    rungs = [(trials, least)]
    while rungs[-1][0] > 1 and rungs[-1][1] < epochs:
        count, total = rungs[-1]
        rungs.append((max(1, count // factor), min(epochs, factor * total)))
    return rungs
