"""Rivals taken in turns: one process each, of which only one works at a time."""

import contextlib
import datetime
import itertools
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.suite import Row, Suite

SAMPLE_SECONDS = 0.05  # a sample is of as many runs as take this long
REST = 0.05  # seconds in which the threads of the rival before fall asleep
SLOW_SECONDS = 3.0  # rivals that take longer, and many times as long as the first,
SLOW_RATIO = 8.0
SPARSE = 3  # sample them in one of this many rounds
CASE_SECONDS = 60.0  # a case that takes longer has fewer rounds,
FEWEST = 3  # but not fewer than these, unless fewer were asked for
PROCESSES = 3  # of a rival, one after the other: the place of its memory is luck, and lasts
QUICK_SECONDS = 8.0  # a rival that takes longer to start and build keeps its process


class Worker:
    """The process of one rival."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.module = module
        self.environment = environment
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Return a new process, which reads questions and writes answers."""
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                **os.environ,
                **self.environment,
            },
        )

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a question, and wait for the answer; start anew if the process ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            return json.loads(line)
        return {"refused": f"the process ended with status {self.restart()}"}

    def restart(self) -> int:
        """Start a new process in the place of this one, and return its exit status."""
        self.close()
        ended, self.process = self.process, self.start()
        return ended.returncode

    def close(self) -> None:
        """Let the process end, and wait for it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


@contextlib.contextmanager
def workers(suite: Suite, rivals: Sequence[str]) -> Iterator[dict[str, Worker]]:
    """Start the processes of rivals, and end them at last."""
    started = {
        rival: Worker(suite.rivals[rival], suite.environment.get(rival, {}))
        for rival in rivals
    }
    try:
        yield started
    finally:
        for worker in started.values():
            worker.close()


def measure(
    suite: Suite, case: str, running: Mapping[str, Worker], rounds: int
) -> list[Row]:
    """Return a row for each rival; all take part in each round, in an order that is drawn.

    So none always follows one whose threads still spin, or which left the caches warm.
    """
    date = str(datetime.date.today())
    rows = {rival: Row(case, rival, date) for rival in running}
    began = {rival: begin(rows[rival], worker) for rival, worker in running.items()}
    check_same_work(suite, [row for row in rows.values() if row.proof])
    once = {rival: start.once for rival, start in began.items() if start}
    quick = [rival for rival, start in began.items() if start and start.quick]
    order = list(once)
    slow = {rival for rival in order if once[rival] > slow_from(once[order[0]])}
    count = affordable(rounds, once) if order else 0
    anew = {count * part // PROCESSES for part in range(1, PROCESSES)} - {0}
    for index in range(count):
        for rival in quick if index in anew else ():
            renew(rows[rival], running[rival])
        for rival in random.Random(index).sample(order, len(order)):
            if not rows[rival].refused and (rival not in slow or index % SPARSE == 0):
                add_sample(rows[rival], running[rival], index)
    for rival in once:
        running[rival].ask(drop=True)
    return list(rows.values())


class Start(NamedTuple):
    """How long a run takes, and whether its rival was ready for it soon."""

    once: float
    quick: bool


def begin(row: Row, worker: Worker) -> Start | None:
    """Build the program of a rival, unless it refuses."""
    began = time.perf_counter()
    answer = worker.ask(build=row.case)
    if not keep(row, answer):
        return None
    row.figures, row.proof = answer["figures"], answer["proof"]
    runs = round(SAMPLE_SECONDS / max(answer["once"], 1e-7))
    row.repeats = 1 if answer["clocked"] else max(1, runs)
    return Start(answer["once"], time.perf_counter() - began < QUICK_SECONDS)


def renew(row: Row, worker: Worker) -> None:
    """Go on with a rival in a new process."""
    if not row.refused:
        worker.restart()
        keep(row, worker.ask(build=row.case))


def affordable(rounds: int, once: Mapping[str, float]) -> int:
    """Return how many rounds a case has, given the seconds of a run of each rival."""
    within = int(CASE_SECONDS / sum(once.values()))
    return min(rounds, max(FEWEST, within))


def slow_from(first: float) -> float:
    """Return from how many seconds on a rival is slow, given those of the first."""
    return max(SLOW_SECONDS, SLOW_RATIO * first)


def add_sample(row: Row, worker: Worker, index: int) -> None:
    """Time a rival in a round."""
    time.sleep(REST)
    answer = worker.ask(sample=row.repeats)
    if keep(row, answer):
        row.seconds.append(answer["seconds"])
        row.rounds.append(index)


def keep(row: Row, answer: Mapping[str, Any]) -> bool:
    """Say whether a rival has done what it was asked; else keep its reason alone."""
    if "refused" in answer:
        row.refused, row.seconds, row.rounds = answer["refused"], [], []
    return not row.refused


def check_same_work(suite: Suite, rows: Sequence[Row]) -> None:
    """Raise an error if rivals have not shown the same numbers."""
    for first, row in itertools.combinations(rows, 2):
        if not agree(first.proof, row.proof, suite.tolerance):
            raise ValueError(
                f"{suite.name}, {row.case}: {row.rival} has {row.proof}, "
                f"but {first.rival} {first.proof}; they do other work"
            )


def agree(
    ours: Sequence[float | None], theirs: Sequence[float | None], tolerance: float
) -> bool:
    """Say whether two proofs are the same, up to a relative tolerance."""
    return len(ours) == len(theirs) and all(
        x is None or y is None or math.isclose(x, y, rel_tol=tolerance)
        for x, y in zip(ours, theirs, strict=True)
    )
