"""An epoch of MNIST: `fnn.fit`, loops by hand, Keras' `fit`, and PyTorch."""

from benchmarks.suite import FNN, Suite

CASES = {"mlp-small": 59_904, "lenet": 3_840}  # the images of an epoch, all in batches
BATCH = 128

SUITE = Suite(
    name="epoch",
    title="epoch",
    cases=tuple(CASES),
    rivals={
        FNN: "benchmarks.epoch.fnn_fit",
        "raw JAX, scan": "benchmarks.epoch.by_hand:scan",
        "raw JAX, loop": "benchmarks.epoch.by_hand:loop",
        "Keras on JAX": "benchmarks.epoch.keras_fit",
        "PyTorch, DataLoader": "benchmarks.epoch.torch_loops:loader",
        "PyTorch, loop": "benchmarks.epoch.torch_loops:tensors",
    },
    tolerance=0.2,  # orders differ
    per="epoch",
    environment={"Keras on JAX": {"KERAS_BACKEND": "jax"}},
)
