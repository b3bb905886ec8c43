"""The loop of a search: chunk by chunk, each recorded as soon as it is trained."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from fnn import checks
from fnn.search.journal import Journal
from fnn.search.populations import Population, Progress
from fnn.search.results import Results
from fnn.search.setups import applied
from fnn.training.progress import Display, make_display
from fnn.values import show

Trained: TypeAlias = tuple[int, Progress]
"""For how many epochs a trial was trained, and how far it has come."""


@dataclasses.dataclass
class Search:
    """Trials of a population, their figures in a journal."""

    population: Population
    journal: Journal
    metric: str
    grows: bool
    display: Display
    finished: int = 0

    def run(
        self,
        rung: int,
        trials: Sequence[int],
        epochs: int,
        before: Mapping[int, Trained],
        *,
        keep: bool,
    ) -> dict[int, Trained]:
        """Bring trials to so many epochs; return those trained, if they are to be kept.

        What the journal has is not trained again. `before` holds, for trials that have
        been trained already, how long, and how far they have come.
        """
        left = [trial for trial in trials if (rung, trial) not in self.journal.done]
        if known := len(trials) - len(left):
            self.finished += known
            self.display.say(f"{known} of {len(trials)} trials are in the checkpoint")
        groups = self.population.groups
        resumed = groups([trial for trial in left if trial in before])
        fresh = groups([trial for trial in left if trial not in before])
        trained: dict[int, Trained] = {}
        for chunk in (*resumed, *fresh):
            held = [before[trial] for trial in chunk if trial in before]
            progress = self._train(rung, chunk, epochs, held, keep)
            if keep:
                trained |= {trial: (epochs, progress[trial]) for trial in chunk}
        return trained

    def _train(
        self, rung: int, chunk: list[int], epochs: int, held: list[Trained], keep: bool
    ) -> dict[int, Progress]:
        """Train a chunk up to so many epochs, and record its figures."""
        began = time.perf_counter()
        more = epochs - held[0][0] if held else epochs
        states = [progress for _, progress in held]
        progress = self.population.train(chunk, more, states, keep=keep)
        by_trial = dict(zip(chunk, progress, strict=True))
        figures = {t: self._figures(epochs, p.figures) for t, p in by_trial.items()}
        self.journal.record(rung, figures)
        self._report(rung, chunk, more, time.perf_counter() - began)
        return by_trial

    def results(self, trials: Sequence[tuple[int, int]]) -> Results:
        """Return the rows of trials, each with the rung whose figures count."""
        settings = self.population.settings
        rows = [
            {"trial": trial, **settings[trial], **self.journal.done[rung, trial]}
            for rung, trial in trials
        ]
        return Results(tuple(rows), self.metric, self.grows)

    def all(self, epochs: int) -> Results:
        """Train all trials, and return their rows."""
        epochs = checks.positive_integer("epochs", epochs)
        trials = range(len(self.population.settings))
        self.run(0, trials, epochs, {}, keep=False)
        return self.results([(0, trial) for trial in trials])

    def score(self, rung: int, trial: int) -> float:
        """Return the metric of a trial, the lower the better."""
        value = self.journal.done[rung, trial][self.metric]
        if not math.isfinite(value):
            return math.inf
        return -value if self.grows else value

    def _figures(self, epochs: int, figures: Mapping[str, list[float]]) -> dict[str, Any]:
        """Return the row of a trial: means over replicates, and whether it diverged."""
        names = sorted(figures, key=lambda name: name != self.metric)
        means = {name: float(np.mean(figures[name])) for name in names}
        values = np.array(figures[self.metric])
        finite = [np.isfinite(figures[name]).all() for name in (self.metric, "loss")]
        diverged = not all(finite)
        spread = {"deviation": math.nan if diverged else float(np.std(values))}
        if diverged:
            means[self.metric] = math.nan
        return means | spread | {"epochs": epochs, "diverged": diverged}

    def _report(
        self, rung: int, trials: Sequence[int], epochs: int, seconds: float
    ) -> None:
        """Show the best of this rung so far."""
        self.finished += len(set(trials))
        scores = [self.score(*place) for place in self.journal.done if place[0] == rung]
        best = -min(scores) if self.grows else min(scores)
        row = {f"best {self.metric}": best, "seconds": seconds}
        examples = len(trials) * epochs * self.population.examples
        self.display.epoch(self.finished - 1, row, examples)


@contextlib.contextmanager
def opened(
    population: Population,
    metric: str,
    grows: bool,
    checkpoint: str | Path | None,
    progress: bool,
    runs: int | None = None,
) -> Iterator[Search]:
    """Open the journal and the display of a search.

    `runs` is how often a trial is trained, all rungs together, if not once each.
    """
    checks.positive_integer("at_once", population.at_once)
    for setting in population.settings:  # all of which must be to be had
        applied(population.setup, setting)
    checks.one_of("metric", metric, population.reported)
    journal = Journal(checkpoint, _described(population, metric, grows))
    runs = len(population.settings) if runs is None else runs
    with make_display(progress, runs, None, unit="trial") as display:
        yield Search(population, journal, metric, grows, display)


def _described(population: Population, metric: str, grows: bool) -> dict[str, Any]:
    """Return what must be the same for a search to go on."""
    setup = population.setup
    replicates = population.replicates
    keys = [np.asarray(jax.random.key_data(r.keys)).tolist() for r in replicates]
    return {
        "setup": show(setup) if isinstance(setup, tuple) else "a function",
        "space": {name: show(kind) for name, kind in population.space.items()},
        "settings": [[show(v) for v in s.values()] for s in population.settings],
        "data": [checks.describe((r.data, r.validation)) for r in replicates],
        "keys": keys,
        "batch_size": population.batch_size,
        "metric": metric,
        "grows": grows,
    }
