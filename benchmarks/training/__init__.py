"""One training step by Adam: fnn, raw JAX, the libraries on JAX, and PyTorch."""

from benchmarks.suite import FNN, Suite
from benchmarks.training.achieved import achieved

NETWORKS = ("mlp-small", "mlp-large", "lenet", "cnn", "resnet20", "autoencoder")
RIVALS = {
    FNN: "fnn_step",
    "raw JAX": "raw_jax",
    "raw JAX, fnn's options": "raw_jax",
    "Flax linen": "flax_linen",
    "Flax nnx": "flax_nnx",
    "Equinox": "equinox_step",
    "Haiku": "haiku_step",
    "Keras on JAX": "keras_step",
    "PyTorch": "torch_eager",
    "PyTorch, compiled": "torch_compiled",
}
# What `fnn.compiler_options` gives on a CPU, for a whole process; a GPU ignores it.
OPTIONS = (
    "--xla_cpu_experimental_ynn_fusion_type="
    "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
)

SUITE = Suite(
    name="training",
    title="training step",
    cases=tuple(f"{name}, batch {size}" for name in NETWORKS for size in (32, 128, 512)),
    rivals={name: f"benchmarks.training.{module}" for name, module in RIVALS.items()},
    environment={
        "raw JAX, fnn's options": {"XLA_FLAGS": OPTIONS},
        "Keras on JAX": {"KERAS_BACKEND": "jax"},
        "PyTorch, compiled": {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
    },
    summary=achieved,
    accelerated=(
        "resnet50, batch 64",
        "mlp-large, batch 512, bfloat16",
        "resnet20, batch 512, bfloat16",
        "resnet50, batch 64, bfloat16",
    ),
)
