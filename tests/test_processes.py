"""Several processes train as one; when one fails, the others name it and end."""

import contextlib
import os
import queue
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
from fnn.sharding.peers import Peers

PROGRAM = Path(process_training.__file__)
TIMEOUT = 120  # seconds, of which a busy machine needs a third


@pytest.fixture
def start(start_process, free_port):
    """Return what starts two processes of two devices each."""

    def start(folder, result, *options):
        port = free_port()
        command = [sys.executable, PROGRAM, folder, result, f"localhost:{port}", "2"]
        environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)}
        return [start_process([*command, i, *options], env=environment) for i in range(2)]

    return start


def finish(processes):
    """Return what the processes printed, both of which must end well."""
    ended = [process.communicate(timeout=TIMEOUT) for process in processes]
    for process, (_, errors) in zip(processes, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [printed for printed, _ in ended]


def wait_for_checkpoints(folder, number, process):
    end = time.monotonic() + TIMEOUT
    while len(list(folder.glob("*.safetensors"))) < number:
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end
        time.sleep(0.01)


def assert_ends(process, cause):
    """Check that a process ends in time, not with 0, and says the cause in fnn's words."""
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    assert cause in errors, errors[-3000:]


@pytest.mark.slow
def test_two_processes_are_one_and_go_on_after_kills(tmp_path, start):
    first, second = tmp_path / "first", tmp_path / "second"
    printed = finish(start(first, tmp_path / "first.npz"))
    assert "epoch 30/30" in printed[0]
    assert "epoch" not in printed[1]  # the first alone prints, and writes
    assert len((tmp_path / "first.jsonl").read_text(encoding="utf-8").splitlines()) == 30
    whole = np.load(tmp_path / "first.npz")
    alone = process_training.train(progress=False)
    for path, leaf in fnn.tree.flatten(alone.params).items():
        np.testing.assert_allclose(whole[path], leaf, atol=1e-6, rtol=0)
    np.testing.assert_allclose(whole["/loss"], alone.history["loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(whole["/streamed"], whole["/loss"][:1], atol=1e-5)
    read = [np.load(f"{tmp_path / 'first.npz'}.{i}.rows.npz")["read"] for i in range(2)]
    assert [len(rows) for rows in read] == [32, 32]  # half of four batches of 16
    assert set(np.concatenate(read)) == set(range(50))

    for victim, checkpoints in ((1, 2), (0, 4)):
        processes = start(second, tmp_path / "second.npz")
        wait_for_checkpoints(second, checkpoints, processes[0])
        processes[victim].send_signal(signal.SIGKILL)
        assert_ends(processes[1 - victim], f"process {victim} of 2 is gone without a word")
    assert not (tmp_path / "second.npz").exists()
    printed, _ = finish(start(second, tmp_path / "second.npz"))
    assert "epoch 30/30" in printed
    assert "epoch 1/30" not in printed  # it went on, and did not begin again
    resumed = np.load(tmp_path / "second.npz")
    for path, leaf in whole.items():
        np.testing.assert_array_equal(resumed[path], leaf)


@pytest.mark.slow
def test_an_exception_in_one_process_ends_both(tmp_path, start):
    processes = start(tmp_path / "run", tmp_path / "result.npz", "2")
    assert_ends(processes[0], "process 1 of 2 failed: KeyError: 'no such column'")
    assert_ends(processes[1], "KeyError: 'no such column'")


@pytest.fixture
def make_peers():
    """Return what makes a process of three, and a queue of the causes that it is told."""
    with contextlib.ExitStack() as stack:

        def make(process):
            causes = queue.Queue()
            peers = Peers(process, 3, causes.put)
            stack.callback(peers.close)
            return peers, causes

        yield make


@pytest.mark.parametrize(
    ("failing", "how", "cause"),
    [
        (1, "failed: ValueError: two\nlines", "process 1 of 3 failed: ValueError: two l"),
        (1, "", "process 1 of 3 is gone without a word"),
        (0, "failed: OSError: full", "process 0 of 3 failed: OSError: full"),
        (0, "", "process 0 of 3 is gone without a word"),
    ],
)
def test_all_others_learn_who_failed(make_peers, failing, how, cause):
    (first, *_), *_ = processes = [make_peers(i) for i in range(3)]
    address = first.listen("localhost")
    for peers, _ in processes[1:]:
        peers.join(address)
    host, port, _ = address.split()
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"guess 1\n")  # without the token, it counts as nobody
        assert stranger.recv(1) == b""
    others = [causes for i, (_, causes) in enumerate(processes) if i != failing]
    processes[failing][0].close(how)
    assert [causes.get(timeout=TIMEOUT)[: len(cause)] for causes in others] == [cause] * 2
    assert processes[failing][1].empty()


def test_nobody_is_missed_who_said_that_it_is_done(make_peers):
    processes = [make_peers(i) for i in range(3)]
    address = processes[0][0].listen("localhost")
    for peers, _ in processes[1:]:
        peers.join(address)
    processes[1][0].close()
    processes[2][0].close("failed: KeyError: 1")
    for (_, causes), expected in zip(
        processes[:2], (["process 2 of 3 failed: KeyError: 1"], []), strict=True
    ):
        assert [causes.get(timeout=TIMEOUT) for _ in expected] == expected
        assert causes.empty()


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


def test_start_says_that_nobody_listens(free_port):
    coordinator = f"localhost:{free_port()}"
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
