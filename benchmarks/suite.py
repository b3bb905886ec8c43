"""The parts of a benchmark suite: cases, and rivals that do the same work."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

FNN = "fnn"


class Program(NamedTuple):
    """Work that is ready to be timed.

    `run` does it once and waits until it is done; with `clocked`, it returns the seconds
    that count, such as those of a part of it, and is a sample by itself. `figures` are
    measured once, before, and their names say what and in which unit, such as `compile, s`
    or `temporaries, MiB`. `proof` are numbers, such as losses, that must be the same for
    all rivals, up to the tolerance of the suite; None stands where a rival has none.
    """

    run: Callable[[], Any]
    figures: Mapping[str, float] = {}
    proof: Sequence[float | None] = ()
    clocked: bool = False


class RefusedError(Exception):
    """A rival can't do a case; the message says why, and stands in its place."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """Cases, each of which is done by rivals in turns.

    Args:
        name: By which it is chosen.
        title: The heading of its tables.
        cases: The names of the work to be done.
        rivals: For each rival the module whose `build(case)` returns a `Program`, or raises
            `RefusedError`; or `"module:function"`, for another function. Each has a process
            of its own, in which it imports what it needs. The first is what the others are
            compared with.
        bases: The rival to compare with, for rivals not compared with the first.
        tolerance: The relative tolerance of the proof.
        unit: In which times are shown, "ms", "µs" or "s".
        per: The unit of one run of a program, such as "step".
        environment: Variables of the processes of some rivals.
        summary: Makes lines of text, such as exponents, of what was measured on, which is
            as `results.machine` returns it, and of the rows.
        headline: Makes, of the same, what the project's own README shows.
        accelerated: Cases that are added on an accelerator.
        fresh: Whether each case has processes of its own, so that peaks are of it alone.
    """

    name: str
    title: str
    cases: tuple[str, ...]
    rivals: Mapping[str, str]
    bases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerance: float = 1e-3
    unit: str = "ms"
    per: str = "step"
    environment: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    summary: Callable[[Mapping[str, Any], Sequence["Row"]], list[str]] | None = None
    headline: Callable[[Mapping[str, Any], Sequence["Row"]], list[str]] | None = None
    accelerated: tuple[str, ...] = ()
    fresh: bool = False


@dataclasses.dataclass
class Row:
    """The measurements of one rival on one case."""

    case: str
    rival: str
    date: str
    repeats: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)
    rounds: list[int] = dataclasses.field(default_factory=list)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    proof: list[float | None] = dataclasses.field(default_factory=list)
    refused: str = ""
