"""The cost of compiling a JAX function, whichever library wrote it."""

import time
from collections.abc import Callable
from typing import Any

import jax

MOST, SECONDS = 3, 2.5  # a function is compiled so often, or for so long


def compiled(lower: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return a program, and the seconds to trace and lower it, and to compile it.

    JAX forgets before what it has traced, as in a process that begins.
    """
    jax.clear_caches()
    began = time.perf_counter()
    lowered = lower()
    middle = time.perf_counter()
    program = lowered.compile()
    ended = time.perf_counter()
    return program, {"trace, s": middle - began, "compile, s": ended - middle}


def figures(lower: Callable[[], Any]) -> dict[str, float]:
    """Return the least seconds to trace and to compile, and the temporary memory."""
    times: list[dict[str, float]] = []
    while len(times) < MOST and sum(sum(time.values()) for time in times) < SECONDS:
        program, seconds = compiled(lower)
        times.append(seconds)
    least = {name: min(time[name] for time in times) for name in times[0]}
    memory = program.memory_analysis()
    return least | {"temporaries, MiB": memory.temp_size_in_bytes / 2**20}
