"""A library that is imported by a process that begins, and says how long that took."""

import os
import resource
import subprocess
import sys

from benchmarks.imports import ALONE, MODULES, SCRIPT, SCRIPTS
from benchmarks.suite import Program, RefusedError
from benchmarks.usage import peak

RIVAL = os.environ["BENCHMARK_IMPORT"]
# As where a library is installed, modules are kept as bytecode after the first import.
KEEPING = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def imported(before: str, code: str) -> float:
    """Return the seconds that code takes in a new process, once others are imported."""
    lines = (
        before,
        "import time; began = time.perf_counter()",
        code,
        "print('seconds', time.perf_counter() - began)",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, env=KEEPING, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout.split()[-1])


def build(case: str) -> Program:
    """Return the import of a case, which brings its own clock."""
    before, code = "", f"import {MODULES[RIVAL]}"
    if case != ALONE:
        if RIVAL in ("JAX", "PyTorch"):
            raise RefusedError("not made of JAX" if RIVAL == "PyTorch" else "is JAX")
        before = "import jax"
    if case == SCRIPT:
        if RIVAL not in SCRIPTS:
            raise RefusedError("has no networks")
        code = f"{code}\n{SCRIPTS[RIVAL]}"
    imported(before, code)
    figures = {"peak of the process, MiB": peak(resource.RUSAGE_CHILDREN)}
    return Program(lambda: imported(before, code), figures, clocked=True)
