"""Strict settings for every test: nothing is promoted, broadcast or reused in silence."""

import contextlib
import os
import random
import socket
import subprocess
from pathlib import Path

import jax
import matplotlib as mpl
import pytest
from hypothesis import settings

from fnn.platforms import tracing_for

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
mpl.use("agg")
settings.register_profile("fnn", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("fnn")

ROOT = Path(__file__).parent.parent
# These train for long, or look at programs as users have them; all others compile much and
# compute little, and their programs are hardly worth optimizing.
OPTIMIZED = {
    f"test_{name}"
    for name in (
        "by_path",
        "course_examples_2",
        "examples",
        "loss_scaling",
        "memory",
        "models",
        "perceptron",
        "research_examples",
        "resumption",
        "search_examples",
    )
}


def pytest_configure(config):
    """Let XLA generate code in its older way, which takes half the time.

    Slow tests and doctests run as users do. JAX 0.11 no longer has the flag, and a flag
    that is unknown ends the process.
    """
    known = jax.__version_info__ < (0, 11)
    if config.option.markexpr == "not slow" and known:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"


@pytest.fixture(autouse=True, scope="module")
def _compilation(request):
    quick = request.module.__name__ not in OPTIMIZED
    jax.config.update("jax_disable_most_optimizations", quick)


@pytest.fixture
def x64():
    """Compute in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def on_cpu():
    """Compute on the CPU, whatever else there is."""
    with jax.default_device(jax.devices("cpu")[0]), tracing_for("cpu"):
        yield


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder of MNIST, or skip the test where there is none."""
    folder = Path(os.environ.get("FNN_DATA", ROOT.parent / "shared" / "data")) / "mnist"
    if not folder.is_dir():
        pytest.skip(f"no MNIST in {folder}; set FNN_DATA to the folder that holds mnist/")
    return folder


@pytest.fixture
def start_process():
    """Return `subprocess.Popen` with pipes of text; whatever fails, the process ends."""
    with contextlib.ExitStack() as stack:

        def start(command, **options):
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            popen = subprocess.Popen(list(map(str, command)), text=True, **pipes | options)
            stack.enter_context(popen)  # closes the pipes, after the kill
            stack.callback(popen.kill)
            return popen

        yield start


@pytest.fixture(scope="session")
def free_port():
    """Return a function that finds a port which nobody has.

    It is below those that the system gives to connections, so that none gets it while
    the process that is to listen starts.
    """

    def find():
        for port in random.sample(range(20_000, 32_768), 100):
            with contextlib.suppress(OSError), socket.create_server(("localhost", port)):
                return port
        raise OSError("no port is free")

    return find
