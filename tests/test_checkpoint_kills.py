"""A writer that is killed at any moment leaves a folder that can be gone on from."""

import collections
import contextlib
import itertools
import random
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from fnn.checkpoint import Checkpointer

KILLS = 60
ENOUGH_KILLS = 600  # by which one was within a write
SIZES = (1, 1_000, 200_000)

AHEAD = 3  # writers that are importing JAX while another one writes

# Begins with the line that it is sent, and goes on from the newest checkpoint.
PROGRAM = f"""
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from fnn.checkpoint import Checkpointer

def tree(step):
    return {{str(n): np.full(n, float(step)) for n in {SIZES}}}

checkpointer = Checkpointer(
    sys.argv[1], keep=2, best=("loss", "min"), asynchronous=sys.argv[2] == "True"
)
sys.stdin.readline()
step = 0 if checkpointer.latest() is None else checkpointer.restore(tree(0)).step
with checkpointer.open() as writer:
    print("begun", flush=True)
    while True:
        step += 1
        writer.save(step, tree(step), metrics={{"loss": -step % 7}})
"""


@contextlib.contextmanager
def writers(command):
    """Give processes that are about to write, and end those that are left."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:

        def start():
            process = stack.enter_context(subprocess.Popen(command, text=True, **pipes))
            stack.callback(process.kill)
            return process

        ahead = collections.deque(start() for _ in range(AHEAD))

        def started():
            while True:
                ahead.append(start())
                yield ahead.popleft()

        yield started()


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path, asynchronous, capsys):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(asynchronous)]
    checkpointer = Checkpointer(tmp_path)
    template = {str(n): np.zeros(n) for n in SIZES}
    moments = random.Random(0)
    newest, kills, halves = 0, 0, 0
    with writers(command) as processes:
        for process in itertools.islice(processes, ENOUGH_KILLS):
            print(file=process.stdin, flush=True)
            assert process.stdout.readline() == "begun\n"
            goal = newest + moments.randint(0, 3)  # so that there is progress at any speed
            while (checkpointer.latest() or 0) < goal:
                assert process.poll() is None
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
            process.wait()
            kills += 1
            halves += bool(list(tmp_path.glob(".*.tmp")))
            if checkpointer.steps():
                with warnings.catch_warnings(action="error"):  # none is passed over
                    restored = checkpointer.restore(template)
                assert restored.step >= newest
                newest = restored.step
                for leaf in restored.tree.values():
                    np.testing.assert_array_equal(leaf, np.full_like(leaf, newest))
            if kills >= KILLS and halves:
                break
    with capsys.disabled():
        sys.stdout.write(f"{kills} kills, {halves} within a write; step {newest}\n")
    assert halves
    series = Checkpointer(tmp_path, keep=2, best=("loss", "min"))
    with series.open() as writer:
        assert not list(tmp_path.glob(".*.tmp"))
        writer.save(newest + 1, template, metrics={"loss": 0})
    # Each kill may have left one that was to be removed; the next write removes them all.
    # The loss is least at step 7 for the first time.
    assert newest > 7
    assert set(series.steps()) == {7, newest, newest + 1}
