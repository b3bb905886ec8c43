"""A study: what is trained and how it is judged; its methods choose the settings."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from fnn import checks
from fnn.search.results import Results
from fnn.search.search_loop import Rung, run_search
from fnn.search.setups import Setup, check_setup
from fnn.search.spaces import (
    Setting,
    Space,
    draw_key,
    grid_settings,
    quasi_random_settings,
    random_settings,
)
from fnn.search.trials import Data, Population, seed_replicates
from fnn.training.placing import on_device
from fnn.types import Key
from fnn.values import Value, show


class Study(Value):
    """Train a setup with many settings, and rank them by a metric on validation data.

    The methods choose the settings: `grid`, `random`, `quasi_random` and `halving`. Each
    returns `Results`, with one row per trial.

    Trials that differ only in numbers, such as learning rates, train together under
    `jax.vmap` in one compiled call, `at_once` networks at a time. Sizes, activations and
    everything else that can't be traced divide them into groups, and each group compiles
    by itself. A trial gives what `fit` gives with the same values and key.

    The arrays of `data` and `validation` move to the device once, when the study is made.
    A study prints their dtypes and shapes instead of their numbers, so its `repr` does not
    evaluate. Two studies are equal if their fields are; arrays compare by content.

    Args:
        setup: The pair (objective, optimizer), as for `train`. The names of a space are
            then paths to fields: `"optimizer.learning_rate"`, or a path that begins with a
            field of the objective, `"model.layers.2.features"`, `"regularizer.strength"`.
            Or a function from a setting, a dict with a value for each name of the space,
            to such a pair.
        data: Inputs and targets to train on, (x, y).
        validation: Inputs and targets to evaluate on, (x, y).
        epochs: Number of passes over the data.
        batch_size: Number of examples in a step.
        seeds: Number of networks per trial, each with its own key; all trials share these
            keys. Figures are means over them, and `deviation` is the standard deviation of
            the metric.
        metric: Name in the history by whose value after the last epoch trials are ranked.
        grows: Whether a larger metric is better.
        at_once: Largest number of networks to train together, which bounds the memory.
            With 1 they still share a program; that is fastest on a CPU that one network
            keeps busy.
        progress: Whether to print the progress of a search.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `train` refuses the data, or a number is not a positive integer.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> study = fnn.search.Study(
        ...     (objective, fnn.optimizers.SGD(0.1)),
        ...     data=(x, 2 * x),
        ...     validation=(x, 2 * x),
        ...     epochs=5,
        ...     batch_size=8,
        ...     progress=False,
        ... )
        >>> study
        fnn.search.Study(
            (fnn.training.Supervised(fnn.Dense(1), fnn.losses.squared_error),
             fnn.optimizers.SGD(0.1)),
            (float32[32,1], float32[32,1]),
            (float32[32,1], float32[32,1]),
            epochs=5,
            batch_size=8,
            progress=False,
        )
        >>> space = {"optimizer.learning_rate": fnn.search.LogUniform(1e-3, 1e-1)}
        >>> results = study.grid(space, points=3, key=jax.random.key(0))
        >>> results.best["optimizer.learning_rate"]
        0.1
    """

    setup: Setup
    data: Data
    validation: Data
    _: dataclasses.KW_ONLY
    epochs: int
    batch_size: int
    seeds: int = 1
    metric: str = "val_loss"
    grows: bool = False
    at_once: int = 32
    progress: bool = True

    def __post_init__(self) -> None:
        check_setup(self.setup)
        for name in ("epochs", "batch_size", "seeds", "at_once"):
            self._set(**{name: checks.positive_integer(name, getattr(self, name))})
        # Copies, so that the study stays the same when a caller writes to the arrays.
        for name in ("data", "validation"):
            self._set(**{name: on_device(getattr(self, name), name)})

    def grid(
        self,
        space: Space,
        *,
        key: Key,
        points: int = 5,
        checkpoint: str | Path | None = None,
    ) -> Results:
        """Train with every combination of values.

        Args:
            space: A distribution for each name. The grid has every option of a `Choice`
                and every number of `Integers`.
            key: A typed key. The seeds' keys are `jax.random.split(key, seeds)`.
            points: Number of values for each range of numbers, both ends included.
            checkpoint: A file for trials, each written as soon as it is trained. The same
                call resumes from it.

        Returns:
            A row for each trial, in the order of the grid; the last name changes fastest.

        Raises:
            TypeError: If an argument is of the wrong kind.
            ValueError: If a path leads nowhere, if `train` refuses the data, if the
                history does not have the metric, if the checkpoint is of another search,
                or if `points` is not a positive integer.
        """
        return self._search(space, grid_settings(space, points), key, checkpoint)

    def random(
        self, space: Space, trials: int, *, key: Key, checkpoint: str | Path | None = None
    ) -> Results:
        """Train with values drawn at random.

        Source: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".

        Args:
            space: A distribution for each name: `LogUniform`, `Uniform`, `Integers`,
                `Choice`.
            trials: Number of settings to draw.
            key: A typed key for the settings. The seeds' keys are
                `jax.random.split(key, seeds)`.
            checkpoint: A file for trials, as for `grid`.

        Returns:
            A row for each trial, in the order in which they were drawn.

        Raises:
            TypeError: As `grid` does.
            ValueError: As `grid` does, or if `trials` is not a positive integer.

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
            >>> data = x, x**2
            >>> options = {"epochs": 5, "batch_size": 8, "progress": False}
            >>> study = fnn.search.Study(setup, data, data, **options)
            >>> results = study.random(space, 6, key=jax.random.key(0))
            >>> sorted(results.best)[:4]
            ['deviation', 'diverged', 'epochs', 'learning_rate']
        """
        settings = random_settings(space, trials, draw_key(key))
        return self._search(space, settings, key, checkpoint)

    def quasi_random(
        self, space: Space, trials: int, *, key: Key, checkpoint: str | Path | None = None
    ) -> Results:
        """Train with values that cover the space more evenly than random ones.

        They are the first points of Halton's sequence, from `scipy.stats.qmc`, all shifted
        by one random vector.

        Source: Halton 1960; Cranley & Patterson 1976; Bousquet et al. 2017, "Critical
        hyper-parameters: no random, no cry".

        Arguments, results and errors are those of `random`.
        """
        settings = quasi_random_settings(space, trials, draw_key(key))
        return self._search(space, settings, key, checkpoint)

    def halving(
        self,
        space: Space,
        trials: int,
        *,
        key: Key,
        factor: int = 3,
        least: int = 1,
        checkpoint: str | Path | None = None,
    ) -> Results:
        """Train many trials for a short time, and the best of them longer and longer.

        Trials drawn at random train for `least` epochs. The best 1/factor of them train
        on, up to `factor` times as many epochs in total, and so forth, until one is left
        or the study's `epochs` are reached. Survivors go on from their last state.

        Source: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and
        hyperparameter optimization"; Li et al. 2018, "Hyperband".

        Args:
            space: A distribution for each name.
            trials: Number of settings to draw.
            key: A typed key for the settings and the seeds' keys.
            factor: The best 1/factor of a rung survive, rounded down, but at least one.
            least: Number of epochs of the first rung, in which all trials train.
            checkpoint: A file for trials, as for `grid`. A search that resumes from it
                trains survivors from their beginning, to the same figures.

        Returns:
            A row for each trial, with its figures after the last of its `epochs`.

        Raises:
            TypeError: As `random` does.
            ValueError: As `random` does, or if `factor` is below 2, or `least` is above
                `epochs`.

        Example:
            >>> x = jax.numpy.linspace(-1, 1, 32)[:, None]
            >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
            >>> pair, data = (objective, fnn.optimizers.SGD(0.1)), (x, 2 * x)
            >>> options = {"epochs": 4, "batch_size": 8, "progress": False}
            >>> study = fnn.search.Study(pair, data, data, **options)
            >>> space = {"optimizer.learning_rate": fnn.search.LogUniform(1e-3, 1e-1)}
            >>> results = study.halving(space, 6, factor=2, key=jax.random.key(0))
            >>> sorted(results.columns["epochs"])
            [1, 1, 1, 2, 2, 4]
        """
        rungs = _rungs(trials, self.epochs, factor, least)
        settings = random_settings(space, trials, draw_key(key))
        return self._search(space, settings, key, checkpoint, rungs)

    def _search(
        self,
        space: Space,
        settings: Sequence[Setting],
        key: Key,
        checkpoint: str | Path | None,
        rungs: Sequence[Rung] = (),
    ) -> Results:
        """Train every setting for all epochs, or rung by rung."""
        replicates = seed_replicates(key, self.seeds, self.data, self.validation)
        population = Population(
            self.setup, space, settings, replicates, self.batch_size, self.at_once
        )
        rungs = rungs or [Rung(len(settings), self.epochs)]
        return run_search(
            population, rungs, self.metric, self.grows, checkpoint, self.progress
        )

    def _arguments(self) -> Iterator[str]:
        yield show(self.setup)
        yield checks.describe(self.data)
        yield checks.describe(self.validation)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.kw_only and value != field.default:
                yield f"{field.name}={show(value)}"


def _rungs(trials: int, epochs: int, factor: int, least: int) -> list[Rung]:
    """Return the rungs of successive halving."""
    for name, value in (("trials", trials), ("epochs", epochs), ("least", least)):
        checks.positive_integer(name, value)
    if checks.positive_integer("factor", factor) < 2:
        raise ValueError(f"factor must be at least 2, got {factor}")
    if least > epochs:
        raise ValueError(f"least must be at most epochs, {epochs}, got {least}")
    rungs = [Rung(trials, least)]
    while rungs[-1].trials > 1 and rungs[-1].epochs < epochs:
        count, total = rungs[-1]
        rungs.append(Rung(max(1, count // factor), min(epochs, factor * total)))
    return rungs
