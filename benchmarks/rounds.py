"""Rivals taken in turns: one process each, of which only one works at a time."""

import contextlib
import datetime
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.suite import Row, Suite

SAMPLE_SECONDS = 0.05  # a sample is of as many runs as take this long
SLOW_SECONDS = 3.0  # rivals that take longer, and many times as long as the first,
SLOW_RATIO = 8.0
SPARSE = 3  # are sampled in one of so many rounds


class Worker:
    """The process of one rival."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **environment},
        )

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a question, and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            return json.loads(line)
        return {"refused": f"the process ended with status {self.process.wait()}"}

    def close(self) -> None:
        """End the process."""
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
    """Return a row for each rival; all take part in each round, in a rotating order."""
    date = str(datetime.date.today())
    rows, once = {}, {}
    for rival, worker in running.items():
        answer = worker.ask(build=case)
        row = rows[rival] = Row(case, rival, date, refused=answer.get("refused", ""))
        if not row.refused:
            once[rival] = answer["once"]
            row.figures, row.proof = answer["figures"], answer["proof"]
            row.repeats = max(1, round(SAMPLE_SECONDS / max(once[rival], 1e-7)))
    order = list(once)
    for index in range(rounds):
        for rival in order[index % len(order) :] + order[: index % len(order)]:
            slow = once[rival] > max(SLOW_SECONDS, SLOW_RATIO * once[order[0]])
            if not slow or index % SPARSE == 0:
                answer = running[rival].ask(sample=rows[rival].repeats)
                rows[rival].seconds.append(answer["seconds"])
                rows[rival].rounds.append(index)
    for rival in once:
        running[rival].ask(drop=True)
    check_same_work(suite, [row for row in rows.values() if row.proof])
    return list(rows.values())


def check_same_work(suite: Suite, rows: Sequence[Row]) -> None:
    """Raise an error if rivals have not shown the same numbers."""
    for row in rows[1:]:
        for ours, theirs in zip(rows[0].proof, row.proof, strict=True):
            if not math.isclose(ours, theirs, rel_tol=suite.tolerance):
                raise ValueError(
                    f"{suite.name}, {row.case}: {row.rival} has {row.proof}, "
                    f"but {rows[0].rival} {rows[0].proof}; they do other work"
                )
