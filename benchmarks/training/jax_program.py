"""A program of a jitted step in JAX, whichever library made it."""

import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.suite import Program
from benchmarks.training.networks import STEPS, Case, shown

MOST, SECONDS = 2, 1.5  # a step is compiled so often, or for so long


def program(
    step: Callable[[], Any],
    lower: Callable[[], Any],
    case: Case,
    *,
    work: bool = False,
    losses_of: Callable[[list[float]], list[float]] = list,
) -> Program:
    """Return a program of a step, which returns its loss, and of what lowers it.

    Where it returns something else, `losses_of` makes losses of that. The proof is the
    losses of the first steps. Accelerators multiply float32 in fewer bits by default; the
    steps of the proof are exact there.
    """
    found = figures(lower, work=work)
    exact = None if jax.default_backend() == "cpu" else "highest"
    with jax.default_matmul_precision(exact):
        losses = losses_of([float(step()) for _ in range(STEPS)])
    figure, proof = shown(case, losses)
    return Program(lambda: wait(step()), found | figure, proof)


def wait(loss: Any) -> None:
    """Wait until a step is done."""
    jax.block_until_ready(loss)


def figures(lower: Callable[[], Any], *, work: bool = False) -> dict[str, float]:
    """Return the least seconds to trace and to compile, and what memory it takes.

    With `work` also the floating-point operations, counted before XLA optimizes.
    """
    traces: list[float] = []
    compiles: list[float] = []
    while len(traces) < MOST and sum(traces) + sum(compiles) < SECONDS:
        jax.clear_caches()
        began = time.perf_counter()
        lowered = lower()
        middle = time.perf_counter()
        compiled = lowered.compile()
        traces.append(middle - began)
        compiles.append(time.perf_counter() - middle)
    found = {
        "trace, s": min(traces),
        "compile, s": min(compiles),
        "temporaries, MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }
    return found | ({"work, GFLOP": lowered.cost_analysis()["flops"] / 1e9} if work else {})
