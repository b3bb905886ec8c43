"""Benchmarks of fnn beside its rivals.

    python -m benchmarks --list
    python -m benchmarks training optimizers [--cases lenet] [--rivals fnn torch]
    python -m benchmarks --tables

Each rival has a process of its own and works while the others are idle; they take turns,
round by round. Every sample is written to `benchmarks/results/`, a file for each suite and
device, and the tables in `benchmarks/README.md` are made of those files.
"""

import argparse
import importlib
import os
from collections.abc import Sequence

from benchmarks import results, tables
from benchmarks.rounds import measure, workers
from benchmarks.suite import Row, Suite

SUITES: dict[str, str] = {
    "ceiling": "benchmarks.ceiling",
    "checkpoint": "benchmarks.checkpoint",
    "compile": "benchmarks.stacks.compiling",
    "convolution": "benchmarks.convolution",
    "cpu": "benchmarks.cpu",
    "dispatch": "benchmarks.dispatch",
    "epoch": "benchmarks.epoch",
    "fitting": "benchmarks.fitting",
    "growth": "benchmarks.stacks.growth",
    "imports": "benchmarks.imports",
    "memory": "benchmarks.stacks.memory",
    "optimizers": "benchmarks.optimizers",
    "per_example": "benchmarks.per_example",
    "populations": "benchmarks.populations",
    "precision": "benchmarks.precision",
    "training": "benchmarks.training",
}


def load(name: str) -> Suite:
    """Return a suite by its name."""
    return importlib.import_module(SUITES[name]).SUITE


def show(suite: Suite, rows: Sequence[Row]) -> None:
    """Print what was measured of one case."""
    beside = {row.rival: row for row in rows}
    print(f"{suite.name}: {rows[0].case}")
    for row in rows:
        first = beside.get(suite.bases.get(row.rival, ""), rows[0])
        figures = "  ".join(f"{name} {value:.4g}" for name, value in row.figures.items())
        time = row.refused or f"{tables.time_cell(row, first, suite.unit)} {suite.unit}"
        print(f"  {row.rival:24} {time:32} {figures}", flush=True)


def run(suite: Suite, options: argparse.Namespace) -> None:
    """Measure a suite, and write what was measured after each case."""
    rivals = [r for r in suite.rivals if not options.rivals or r in options.rivals]
    with workers(suite, rivals) as running:
        asked = running[rivals[0]]
        about = results.machine(asked.ask(about=True))
        asked.restart()  # so the device's description is not in its memory
        accelerated = () if about["platform"] == "cpu" else suite.accelerated
        for case in (*suite.cases, *accelerated):
            if options.cases and not any(part in case for part in options.cases):
                continue
            for worker in running.values() if suite.fresh else ():
                worker.restart()
            rows = measure(suite, case, running, options.rounds)
            show(suite, rows)
            if not options.rivals:
                results.write(results.path(suite.name, about), about, rows)
                tables.write(suite)


def main() -> None:
    """Measure the suites that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", help="of those that --list shows")
    parser.add_argument("--cases", nargs="+", help="those that contain one of these texts")
    parser.add_argument(
        "--rivals", nargs="+", help="only these; then nothing is written, but shown"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", help="folder with the MNIST files, for some suites")
    parser.add_argument("--list", action="store_true", help="show suites and their cases")
    parser.add_argument("--tables", action="store_true", help="make all tables anew")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"no suite {sorted(unknown)}; there are {sorted(SUITES)}")
    if options.data:
        os.environ["BENCHMARKS_DATA"] = options.data  # for the rivals' processes
    for name in SUITES if options.list else ():
        suite = load(name)
        print(f"{name}: {suite.title}\n  cases: {'; '.join(suite.cases)}")
        print(f"  rivals: {'; '.join(suite.rivals)}")
    for name in options.suites:
        run(load(name), options)
    for name in SUITES if options.tables else ():
        tables.write(load(name))


if __name__ == "__main__":
    main()
