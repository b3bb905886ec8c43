"""Training on 8 simulated devices is training on one; each case in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "sharded_training.py"
FLAGS = "--xla_force_host_platform_device_count=8"


def run(*arguments):
    result = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "XLA_FLAGS": FLAGS,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(PROGRAM.parents[2]),
        },
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mlp", "batch_norm", "private", "remembering"])
def test_fifty_steps_are_those_of_one_device(case):
    found = run(case)
    assert set(found) == {"replicated", "fully_sharded", "by_path"}
    for name, layout in found.items():
        assert layout["difference"] <= 1e-6, name
        assert layout["losses"] <= 2e-6, name  # of losses of about 2
        assert layout["devices"] == 8, name
        assert layout["as_params"], name  # a gradient's state that is like them
    # The moments of Adam lie as the kernel does.
    assert found["replicated"]["part"] == 1
    assert found["fully_sharded"]["part"] == 1 / 8
    assert set(found["replicated"]["collectives"]) == {"all-reduce"}
    # Each parameter is gathered once, and gradients are summed. So is a state of which the
    # gradient is made, as gradients are handed on whole.
    sharded, gathered = found["fully_sharded"], 2 if case == "remembering" else 1
    assert set(sharded["collectives"]) <= {"all-gather", "all-reduce", "reduce-scatter"}
    assert sharded["collectives"].count("all-gather") == gathered * sharded["leaves"]


@pytest.mark.slow
def test_fit_on_a_mesh(tmp_path):
    """Batches are filled up, and another mesh goes on from a checkpoint."""
    found = run("fit", str(tmp_path))
    assert found["difference"] <= 1e-6
    assert found["streamed"] <= 1e-6
    assert found["history"] <= 1e-5
    assert found["evaluated"] <= 1e-6
    assert found["resumed"] <= 1e-6
    assert found["resumed_epochs"] == [2]  # after two on eight devices
    assert found["resumed_devices"] == 4
    assert found["errors"] == [
        "batch_size must be a multiple of 8, the number of devices along the axis 'data' "
        "of the mesh, got 12",
        "the size of a microbatch must be a multiple of 8, the number of devices along the "
        "axis 'data' of the mesh, got 4",
    ]
