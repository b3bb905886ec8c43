"""Several processes train as one, and one that is killed ends the others."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import process_training
import pytest

import fnn
from fnn.sharding import start_processes

PROGRAM = Path(process_training.__file__)


def start(folder, result):
    """Start two processes of two devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)}
    command = [sys.executable, str(PROGRAM), str(folder), str(result), f"localhost:{port}"]
    return [
        subprocess.Popen(
            [*command, "2", str(process)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]


def finish(processes):
    """Return what each of them printed, and its errors."""
    ended = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return ended


def wait_for_checkpoints(folder, number):
    while len(list(folder.glob("*.safetensors"))) < number:
        time.sleep(0.01)


@pytest.mark.slow
def test_two_processes_are_one_and_go_on_after_a_kill(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    printed = [out for out, _ in finish(start(first, tmp_path / "first.npz"))]
    assert "epoch 30/30" in printed[0]
    assert "epoch" not in printed[1]  # the first alone prints, and writes
    assert len((tmp_path / "first.jsonl").read_text().splitlines()) == 30
    whole = np.load(tmp_path / "first.npz")
    alone = process_training.train(progress=False)
    for path, leaf in fnn.tree.flatten(alone.params).items():
        np.testing.assert_allclose(whole[path], leaf, atol=1e-6, rtol=0)
    np.testing.assert_allclose(whole["/loss"], alone.history["loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(whole["/streamed"], whole["/loss"][:1], atol=1e-5)
    read = [np.load(f"{tmp_path / 'first.npz'}.{i}.rows.npz")["read"] for i in range(2)]
    assert [len(rows) for rows in read] == [32, 32]  # half of four batches of 16
    assert set(np.concatenate(read)) == set(range(50))

    processes = start(second, tmp_path / "second.npz")
    wait_for_checkpoints(second, 2)
    processes[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, errors = processes[0].communicate(timeout=120)
    assert time.monotonic() - began < 60
    assert processes[0].returncode != 0
    assert re.search("by peer|Task 1 heartbeat timeout", errors), errors[-3000:]
    processes[1].communicate()
    assert not (tmp_path / "second.npz").exists()
    (printed, _), _ = finish(start(second, tmp_path / "second.npz"))
    assert "epoch 30/30" in printed
    assert "epoch 1/30" not in printed  # it went on, and did not begin again
    resumed = np.load(tmp_path / "second.npz")
    for path, leaf in whole.items():
        np.testing.assert_array_equal(resumed[path], leaf)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1",), "give all of coordinator, processes and process"),
        (("localhost", 2, 0), "coordinator must be 'host:port'"),
        (("localhost:1", 0, 0), "processes must be a positive integer"),
        (("localhost:1", 2, 2), "process must be an integer from 0 to 1, got 2"),
    ],
)
def test_start_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        start_processes(*arguments)


def test_start_says_that_nobody_listens():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    with pytest.raises(ConnectionError, match=f"reach the coordinator at {coordinator}"):
        start_processes(coordinator, 2, 1, timeout=1)


def test_start_explains_where_nothing_says_who_is_there():
    program = "import fnn; fnn.sharding.start_processes()"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=PROGRAM.parent.parent,
        env=environment,
    )
    assert ended.returncode != 0
    assert "give coordinator='host:port', processes and process" in ended.stderr
