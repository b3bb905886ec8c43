"""The process of one rival, which is idle while others are measured.

    python -m benchmarks.worker MODULE[:FUNCTION]

It reads a JSON object a line, and answers each by one: `{"build": case}` makes a program
ready and runs it once, `{"sample": repeats}` times it, `{"drop": true}` lets it go, and
`{"about": true}` tells which device this is.
"""

import gc
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

from benchmarks.suite import Program, RefusedError
from benchmarks.usage import peak

# Whatever a library prints goes to stderr; the answers have the real stdout to themselves.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def timed(program: Program, repeats: int) -> float:
    """Return the mean seconds of some runs, after one that wakes the threads.

    A single run is a long one, and wakes them itself.
    """
    if program.clocked:
        return float(program.run())
    if repeats > 1:
        program.run()
    began = time.perf_counter()
    for _ in range(repeats):
        program.run()
    return (time.perf_counter() - began) / repeats


def build(rival: str, case: str) -> tuple[Program, dict[str, Any]]:
    """Make a program ready; return it, and what there is to tell of it."""
    name, _, function = rival.partition(":")
    program = getattr(importlib.import_module(name), function or "build")(case)
    program.run()
    once = timed(program, 1)
    figures = {"peak of the process, MiB": peak()} | dict(program.figures)
    proof = [None if value is None else float(value) for value in program.proof]
    told = {"figures": figures, "proof": proof, "clocked": program.clocked}
    return program, {"once": once, **told}


def reason(error: Exception) -> str:
    """Return what stands in the place of a time, in a line."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    traceback.print_exc()
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"failed: {first[:200]}"


def device() -> dict[str, str]:
    """Return what JAX runs on: its platform and its name."""
    import jax

    first = jax.devices()[0]
    return {"platform": first.platform, "kind": first.device_kind}


def main(rival: str) -> None:
    """Answer until there is nothing more to read."""
    program: Program | None = None
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        try:
            match json.loads(line):
                case {"about": _}:
                    answer = device()
                case {"build": case}:
                    program, answer = build(rival, case)
                case {"sample": repeats} if program is not None:
                    answer = {"seconds": timed(program, repeats)}
                case {"drop": _}:
                    program = None
                    gc.collect()
        except Exception as error:
            program, answer = None, {"refused": reason(error)}
        print(json.dumps(answer), file=_answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
