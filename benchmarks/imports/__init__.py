"""The cost of importing a library, in a new process."""

from benchmarks.suite import Suite

MODULES = {
    "fnn": "fnn",
    "JAX": "jax",
    "Optax": "optax",
    "Flax Linen": "flax.linen",
    "Flax NNX": "flax.nnx",
    "Equinox": "equinox",
    "Haiku": "haiku",
    "Keras": "keras",
    "PyTorch": "torch",
}
ALONE, OVER_JAX, SCRIPT = "alone", "over JAX", "for a training script, over JAX"
# Other imports of a script that trains a network, if it needs any.
SCRIPTS = {
    "fnn": (
        "fnn.Sequential, fnn.Dense, fnn.losses.softmax_cross_entropy, fnn.optimizers.Adam, "
        "fnn.supervised, fnn.make_step, fnn.fit"
    ),
    "Flax Linen": "import optax",
    "Flax NNX": "import optax",
    "Equinox": "import optax",
    "Haiku": "import optax",
    "Keras": "keras.Sequential, keras.layers.Dense, keras.optimizers.Adam",
}

SUITE = Suite(
    name="imports",
    title="import",
    cases=(ALONE, OVER_JAX, SCRIPT),
    rivals=dict.fromkeys(MODULES, "benchmarks.imports.fresh"),
    environment={
        rival: {"BENCHMARK_IMPORT": rival, "KERAS_BACKEND": "jax"} for rival in MODULES
    },
    per="import",
)
