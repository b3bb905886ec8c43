"""The suite `compile`: what compiling a training step takes, as it gets deeper."""

from benchmarks.stacks.shapes import COMPILE
from benchmarks.suite import Suite

SUITE = Suite(
    name="compile",
    title="training step",
    cases=tuple(COMPILE),
    rivals={
        "fnn": "benchmarks.stacks.fnn_stack:unrolled",
        "JAX": "benchmarks.stacks.raw_stack:unrolled",
        "Flax Linen": "benchmarks.stacks.linen_stack:unrolled",
        "Equinox": "benchmarks.stacks.equinox_stack:unrolled",
        "fnn, `Repeat`": "benchmarks.stacks.fnn_stack:looped",
        "JAX, `scan`": "benchmarks.stacks.raw_stack:looped",
        "Flax Linen, `nn.scan`": "benchmarks.stacks.linen_stack:looped",
    },
    bases=dict.fromkeys(("JAX, `scan`", "Flax Linen, `nn.scan`"), "fnn, `Repeat`"),
    unit="s",
    per="compilation",
)
