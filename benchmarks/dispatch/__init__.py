"""Steps of next to no work: what it costs to call them."""

from benchmarks.suite import Suite

LEAVES = {"4 leaves": 4, "40 leaves": 40, "400 leaves": 400}
RATE = 0.01
PROOF_STEPS = 5

SUITE = Suite(
    name="dispatch",
    title="state of",
    cases=tuple(LEAVES),
    rivals={
        "fnn": "benchmarks.dispatch.fnn_step",
        "JAX": "benchmarks.dispatch.raw_step",
        "Flax Linen": "benchmarks.dispatch.linen_step",
        "Flax NNX": "benchmarks.dispatch.nnx_step",
        "Equinox": "benchmarks.dispatch.equinox_step",
    },
    unit="µs",
    per="call",
)
