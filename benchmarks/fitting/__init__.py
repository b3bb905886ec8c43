"""The cost of monitoring, checkpoints and streaming in `fnn.fit`: an epoch of MNIST."""

from benchmarks.suite import Suite

SUITE = Suite(
    name="fitting",
    title="epoch",
    cases=("mlp-small",),
    rivals={
        "fnn, silent": "benchmarks.fitting.variants:silent",
        "fnn, watched": "benchmarks.fitting.variants:watched",
        "fnn, with checkpoints": "benchmarks.fitting.variants:checkpoints",
        "fnn, streamed": "benchmarks.fitting.variants:streamed",
    },
    tolerance=1e-9,  # they end with the same bits
    per="epoch",
)
