"""Strict settings for every test: nothing is promoted, broadcast or reused in silence."""

import os
from pathlib import Path

import jax
import matplotlib as mpl
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
mpl.use("agg")
settings.register_profile("fnn", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("fnn")

ROOT = Path(__file__).parent.parent
# These compile much and compute little: their programs are hardly worth optimizing.
QUICK = {
    f"test_{name}"
    for name in (
        "activation_contract",
        "augmentation",
        "convolution",
        "diagnostics_signals",
        "docs",
        "layer_contract",
        "loss_contract",
        "losses",
        "metrics",
        "normalization",
        "optimizer_contract",
        "optimizers",
        "per_example_clipping",
        "per_example_compositions",
        "per_example_influence",
        "per_example_kernels",
        "per_example_laws",
        "per_example_layers",
        "per_example_norms",
        "per_example_precision",
        "per_example_sampling",
        "per_example_statistics",
        "pooling",
        "precision",
        "private_gradient",
        "repeat",
        "search",
        "shuffling",
        "stochastic",
        "streaming",
        "train",
        "training",
    )
}


@pytest.fixture(autouse=True, scope="module")
def _compilation(request):
    jax.config.update("jax_disable_most_optimizations", request.module.__name__ in QUICK)


@pytest.fixture
def x64():
    """Compute in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder of MNIST, or skip the test where there is none."""
    folder = Path(os.environ.get("FNN_DATA", ROOT.parent / "shared" / "data")) / "mnist"
    if not folder.is_dir():
        pytest.skip(f"no MNIST in {folder}; set FNN_DATA to the folder that holds mnist/")
    return folder
