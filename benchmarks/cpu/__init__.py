"""Ways to speed up steps of convolutional networks on a CPU, beside PyTorch."""

from benchmarks.suite import FNN, Suite

STEP = "benchmarks.training.fnn_step"

# Freed memory stays with the process: no mapping of its own for what is large, no heap of
# its own, of 64 MiB at most, for a thread, and nothing given back.
KEPT = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1"
    ":glibc.malloc.trim_threshold=4294967296"
}
TWO = {"JAX_NUM_CPU_DEVICES": "2"}

SUITE = Suite(
    name="cpu",
    title="training step",
    cases=(
        "lenet, batch 128",
        "cnn, batch 128",
        "cnn, batch 512",
        "resnet20, batch 128",
    ),
    rivals={
        FNN: STEP,
        "fnn, XLA's options": "benchmarks.cpu.variants:by_default",
        "fnn, memory kept": STEP,
        "fnn, huge pages": STEP,
        "fnn, two devices": "benchmarks.cpu.variants:on_mesh",
        "fnn, two devices, memory kept": "benchmarks.cpu.variants:on_mesh",
        "fnn, in parts of 32": "benchmarks.cpu.variants:in_parts",
        "PyTorch": "benchmarks.training.torch_eager",
        "PyTorch, memory kept": "benchmarks.training.torch_eager",
    },
    environment={
        "fnn, memory kept": KEPT,
        "fnn, huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        "fnn, two devices": TWO,
        "fnn, two devices, memory kept": TWO | KEPT,
        "PyTorch, memory kept": KEPT,
    },
)
