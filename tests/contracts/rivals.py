"""Rivals that do next to nothing, and suites and rows of them, to drive the benchmarks."""

from pathlib import Path

from benchmarks.suite import Row, Suite

ROOT = Path(__file__).parents[2]
ABOUT = {
    "device": "Abacus", "platform": "cpu", "cores": 2, "python": "3.11.7",
    "versions": {"jax": "0.10.2", "numpy": "2.0.0"},
}  # fmt: skip

RIVALS = {
    "steady": "def run(): time.sleep(0.03); print('to be ignored')",
    "refusing": "raise RefusedError(f'has no {case}')",
    "failing": "raise ValueError('no such layer\\nat all')",
    "absent": "import surely_not_there",
    "breaking": "def run(): calls.append(0); 1 / (len(calls) < 3)",
    "clocked": "return Program(lambda: 1e-3, proof=[1.0, 2.0], clocked=True)",
    "dying": "def run(): calls.append(0); len(calls) < 3 or os._exit(7)",
}
MODULE = """
import os, time
from benchmarks.suite import Program, RefusedError

def build(case):
    calls = []
    {body}
    return Program(run, figures={{"answer, MiB": 42.0}}, proof=[1.0, 2.0])

def other(case):
    return build(f"other {{case}}")
"""


def write_rivals(folder, bodies=RIVALS):
    for name, body in bodies.items():
        (folder / f"{name}_rival.py").write_text(MODULE.format(body=body), encoding="utf-8")


def suite_of(rivals, path=None, **changes):
    environment = {"PYTHONPATH": f"{ROOT}:{path}"}
    return Suite(
        name="fake", title="work", cases=("a", "b"),
        rivals={rival: f"{rival}_rival" for rival in rivals},
        environment=dict.fromkeys(rivals, environment), **changes,
    )  # fmt: skip


def row(rival, seconds, rounds=None, case="a", date="2026-01-01", **changes):
    rounds = list(range(len(seconds))) if rounds is None else rounds
    return Row(case, rival, date, 1, list(seconds), rounds, **changes)
