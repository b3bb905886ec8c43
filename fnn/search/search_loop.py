"""The loop of a search: rung by rung, and chunk by chunk into the journal."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.search.journal import Journal
from fnn.search.results import Results
from fnn.search.trials import Population, TrialState
from fnn.training.progress import Display, make_display
from fnn.values import show


class Rung(NamedTuple):
    """A stage of a search: how many trials train, and up to which epoch in total."""

    trials: int
    epochs: int


def run_search(
    population: Population,
    rungs: Sequence[Rung],
    metric: str,
    grows: bool,
    checkpoint: str | Path | None,
    progress: bool,
) -> Results:
    """Train a population, and record every trial in the journal as soon as it is trained.

    Args:
        population: The trials.
        rungs: The stages. All trials train in the first, the best of them in the next.
        metric: Name in the history by which trials are ranked.
        grows: Whether a larger metric is better.
        checkpoint: The journal's file, if there is one.
        progress: Whether to display the progress.
    """
    checks.one_of("metric", metric, population.history_names)
    journal = Journal(checkpoint, _describe(population, metric, grows))
    runs = sum(rung.trials for rung in rungs)
    with make_display(progress, runs, None, unit="trial") as display:
        return Search(population, journal, metric, grows, display).run(rungs)


@dataclasses.dataclass
class Search:
    """A search under way; the journal has the figures of the trials that are done."""

    population: Population
    journal: Journal
    metric: str
    grows: bool
    display: Display
    finished: int = 0

    def run(self, rungs: Sequence[Rung]) -> Results:
        """Train the trials rung by rung; return the row of each after its last rung."""
        survivors = list(range(len(self.population.settings)))
        last_rung = dict.fromkeys(survivors, 0)
        states: dict[int, TrialState] = {}
        for i, rung in enumerate(rungs):
            if i > 0:
                scores = {trial: self._score(i - 1, trial) for trial in survivors}
                best = sorted(survivors, key=scores.__getitem__)[: rung.trials]
                survivors = sorted(best)
                last_rung |= dict.fromkeys(survivors, i)
            goes_on = i + 1 < len(rungs)
            states = self._train(i, survivors, rung.epochs, states, keep=goes_on)
        settings, done = self.population.settings, self.journal.done
        rows = [
            {"trial": trial, **settings[trial], **done[i, trial]}
            for trial, i in last_rung.items()
        ]
        return Results(tuple(rows), self.metric, self.grows)

    def _train(
        self,
        rung: int,
        trials: Sequence[int],
        epochs: int,
        states: Mapping[int, TrialState],
        *,
        keep: bool,
    ) -> dict[int, TrialState]:
        """Train the trials of a rung that the journal does not have.

        A trial goes on from its state after the last rung. Without one, because the journal
        has that rung, it trains from its beginning. Returns the states of those trained, if
        they are to be kept for the next rung.
        """
        left = [trial for trial in trials if (rung, trial) not in self.journal.done]
        if known := len(trials) - len(left):
            self.finished += known
            self.display.say(f"{known} of {len(trials)} trials are in the checkpoint")
        groups = self.population.groups
        resumed = groups([trial for trial in left if trial in states])
        fresh = groups([trial for trial in left if trial not in states])
        trained: dict[int, TrialState] = {}
        for chunk in (*resumed, *fresh):
            before = [states[trial] for trial in chunk if trial in states]
            found = self._train_chunk(rung, chunk, epochs, before, keep)
            if keep:
                trained |= found
        return trained

    def _train_chunk(
        self,
        rung: int,
        chunk: list[int],
        epochs: int,
        before: list[TrialState],
        keep: bool,
    ) -> dict[int, TrialState]:
        """Train a chunk up to this number of epochs, and record its figures."""
        began = time.perf_counter()
        more = epochs - before[0].epochs if before else epochs
        states = self.population.train(chunk, more, before, keep=keep)
        by_trial = dict(zip(chunk, states, strict=True))
        figures = {t: self._figures(epochs, s.figures) for t, s in by_trial.items()}
        self.journal.record(rung, figures)
        self._report(rung, chunk, more, time.perf_counter() - began)
        return by_trial

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

    def _score(self, rung: int, trial: int) -> float:
        """Return the metric of a trial, the sign turned so that lower is better."""
        value = self.journal.done[rung, trial][self.metric]
        if not math.isfinite(value):
            return math.inf
        return -value if self.grows else value

    def _report(
        self, rung: int, trials: Sequence[int], epochs: int, seconds: float
    ) -> None:
        """Show the best of this rung so far."""
        self.finished += len(set(trials))
        scores = [self._score(*place) for place in self.journal.done if place[0] == rung]
        best = -min(scores) if self.grows else min(scores)
        row = {f"best {self.metric}": best, "seconds": seconds}
        examples = len(trials) * epochs * self.population.examples
        self.display.epoch(self.finished - 1, row, examples)


def _describe(population: Population, metric: str, grows: bool) -> dict[str, Any]:
    """Return what must be the same for a search to resume."""
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
