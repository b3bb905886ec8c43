"""Many networks that are trained as one program, and one after the other."""

from benchmarks.suite import FNN, Suite

SUITE = Suite(
    name="populations",
    title="population",
    cases=("8 networks, 784-128-10", "64 networks, 16-32-4"),
    accelerated=("64 networks, 784-128-10",),
    rivals={
        FNN: "benchmarks.populations.rivals:one_at_a_time",
        "fnn, 8 at a time": "benchmarks.populations.rivals:eight_at_a_time",
        "fnn, all at a time": "benchmarks.populations.rivals:all_at_a_time",
        "`fit`, one after the other": "benchmarks.populations.rivals:fitted",
    },
    tolerance=1e-4,
    per="population's two epochs",
)
