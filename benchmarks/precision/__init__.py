"""Accumulation, rematerialization and mixed precision: time and memory of a step."""

from benchmarks.suite import FNN, Suite

MLP, RESNET = "24 blocks of 256, batch 1024", "ResNet-20, batch 64"

SUITE = Suite(
    name="precision",
    title="training step",
    cases=(MLP, RESNET),
    rivals={
        FNN: "benchmarks.precision.ways:as_it_is",
        "`accumulate=2`": "benchmarks.precision.ways:in_two",
        "`accumulate=4`": "benchmarks.precision.ways:in_four",
        "`accumulate=8`": "benchmarks.precision.ways:in_eight",
        "`Remat` of each block": "benchmarks.precision.ways:remat",
        "`MixedPrecision`, bfloat16": "benchmarks.precision.ways:mixed",
    },
    fresh=True,
)
