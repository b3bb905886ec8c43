"""What makes steps of convolutional networks faster on a CPU, beside PyTorch."""

from benchmarks.suite import FNN, Suite

STEP = "benchmarks.training.fnn_step"

# Freed memory stays with the process, rather than be mapped and cleared anew.
KEPT = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"

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
        "fnn, two devices, huge pages": "benchmarks.cpu.variants:on_mesh",
        "fnn, in parts of 32": "benchmarks.cpu.variants:in_parts",
        "PyTorch": "benchmarks.training.torch_eager",
    },
    environment={
        "fnn, memory kept": {"GLIBC_TUNABLES": KEPT},
        "fnn, huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        "fnn, two devices": {"JAX_NUM_CPU_DEVICES": "2"},
        "fnn, two devices, huge pages": {
            "JAX_NUM_CPU_DEVICES": "2",
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        },
    },
)
