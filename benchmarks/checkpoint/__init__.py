"""Saving and loading what training needs to go on."""

from benchmarks.suite import FNN, Suite

MODULE = "benchmarks.checkpoint.rivals"
RIVALS = {
    FNN: "fnn_checkpoint",
    "fnn, in a step": "fnn_in_a_step",
    "bytes and fsync": "plain_bytes",
    "`numpy.savez`": "numpy_savez",
    "safetensors": "safetensors_file",
    "Orbax": "orbax_checkpoint",
}

SUITE = Suite(
    name="checkpoint",
    title="checkpoint",
    cases=("save, 22 MB", "load, 22 MB", "save, 220 MB", "load, 220 MB"),
    rivals={
        rival: f"benchmarks.checkpoint.rivals:{name}" for rival, name in RIVALS.items()
    },
    per="checkpoint",
)
