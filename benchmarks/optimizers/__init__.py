"""The update of an optimizer by itself, gradients clipped by their global norm."""

from benchmarks.suite import Suite

KINDS = ("SGD", "momentum", "Adam", "AdamW")
SIZES = {"10 leaves": (10, 64), "100 leaves": (100, 64), "1,000 leaves": (1000, 64)}
LARGE = {"10 large leaves": (10, 1_000_000)}
RATE, MOMENTUM, B1, B2, EPS, DECAY = 0.01, 0.9, 0.9, 0.999, 1e-8, 0.01
MAX_NORM = 1.0  # which clips all of the gradients here
PROOF_STEPS = 5

SUITE = Suite(
    name="optimizers",
    title="update",
    cases=tuple(f"{kind}, {size}" for size in SIZES | LARGE for kind in KINDS),
    rivals={
        "fnn": "benchmarks.optimizers.fnn_update",
        "Optax": "benchmarks.optimizers.optax_update",
        "JAX": "benchmarks.optimizers.raw_update",
    },
    unit="µs",
    per="update",
)


def parse(case: str) -> tuple[str, int, int]:
    """Return which optimizer, and how many leaves of how many elements."""
    kind, size = case.split(", ", maxsplit=1)
    return (kind, *(SIZES | LARGE)[size])
