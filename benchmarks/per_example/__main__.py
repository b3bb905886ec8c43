"""Per-example norms and clipped gradients, against each library's ordinary gradient.

    python -m benchmarks.per_example [NETWORK ...] [--rounds 15] [--explain] [--write]

Needs the extra `bench`. On each network, all rivals in JAX are compiled in one process
and run in turns with PyTorch and Opacus, which have a process of their own and are idle
meanwhile. That the rivals agree, and that the networks have as many parameters, is checked.

Times are medians over the rounds; ratios are medians of each round's ratio to the
ordinary gradient of the same library: the gradient of the mean loss, compiled in the same
run. Memory is XLA's temporary memory. Compilation is apart. `--write` puts the table into
`benchmarks/README.md`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import jax

import fnn
from benchmarks.per_example import report
from benchmarks.per_example.networks import NETWORKS, Problem
from benchmarks.per_example.report import Row
from benchmarks.per_example.rivals import CLIPPED, NORMS, ORDINARY, compiled
from fnn import per_example

GHOST, TORCH = "clipped, Opacus ghost", "ordinary gradient, PyTorch"
SAMPLE_SECONDS = 0.03
EACH_ROUND = (ORDINARY, NORMS, CLIPPED)
SPARSE = 5  # the others take up to hundreds of times as long: every so many rounds


class Torch:
    """PyTorch and Opacus in another process."""

    def __init__(self, network: str) -> None:
        command = [sys.executable, "-m", "benchmarks.per_example.torch_side", network]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        about = self._read()
        self.parameters, self.refused = about["parameters"], about["refused"]
        self.seconds: dict[str, list[float]] = {}

    def sample(self, repeats: int) -> None:
        """Have each rival timed once."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{repeats}\n")
        self.process.stdin.flush()
        for rival, seconds in self._read().items():
            self.seconds.setdefault(rival, []).append(seconds)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def measure(name: str, rounds: int) -> list[Row]:
    """Compile and time all rivals on one network."""
    problem = NETWORKS[name]()
    torch = Torch(name)
    assert torch.parameters == fnn.tree.size(problem.params), name
    rivals = compiled(problem)
    rivals[ORDINARY].sample(3)
    repeats = max(1, round(SAMPLE_SECONDS / rivals[ORDINARY].seconds.pop()))
    for index in range(rounds):
        for rival, measured in rivals.items():
            if rival in EACH_ROUND:
                measured.sample(repeats)
            elif index % SPARSE == 0:
                measured.sample(1)
        torch.sample(repeats)
    torch.close()
    base = rivals[ORDINARY]
    rows = []
    for rival, measured in rivals.items():
        times = measured.seconds
        beside = base.seconds if rival in EACH_ROUND else base.seconds[::SPARSE]
        memory = measured.temporary, base.temporary
        rows.append(_row(rival, times, beside, memory, measured.compile_seconds))
    ordinary = torch.seconds["ordinary"]
    rows.append(_row(TORCH, ordinary, ordinary))
    if torch.refused:
        rows.append(Row(GHOST, note=torch.refused))
    else:
        rows.append(_row(GHOST, torch.seconds["ghost"], ordinary))
    return rows


def _row(
    name: str,
    times: Sequence[float],
    beside: Sequence[float],
    memory: tuple[float, float] | None = None,
    compile_seconds: float | None = None,
) -> Row:
    ratio = statistics.median(a / b for a, b in zip(times, beside, strict=True))
    milliseconds = 1e3 * statistics.median(times)
    return Row(name, milliseconds, ratio, memory, compile_seconds)


def explained(problem: Problem) -> str:
    """Return how each parameter's norms are computed."""
    gradients = per_example.gradients(problem.loss)
    return str(jax.eval_shape(gradients, problem.params, *problem.batch).explain())


def main() -> None:
    """Measure the networks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    tables = {}
    for name in arguments.networks:
        tables[name] = measure(name, arguments.rounds)
        print(f"\n{name}: {NETWORKS[name].__doc__}")
        if arguments.explain:
            print(explained(NETWORKS[name]()))
        print("\n".join(map(report.line, tables[name])), flush=True)
    if arguments.write:
        report.write(tables, arguments.rounds)


if __name__ == "__main__":
    main()
