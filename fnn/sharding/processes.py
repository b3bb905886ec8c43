"""Several processes that train as one: how they start, end, and agree on values."""

import atexit
import os
import socket
import sys
import time
import warnings
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fnn import checks
from fnn.sharding.peers import DONE, Peers
from fnn.types import PyTree

PAUSE = 0.5  # seconds between two attempts to reach the coordinator
ADDRESS_BYTES = 512  # for the address at which process 0 listens


def start_processes(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout: int = 300,
    heartbeat: int = 30,
) -> None:
    """Join this process with others, whose devices JAX then sees as its own.

    Call it before anything else, in every process, with the same program. Slurm, TPU
    virtual machines and Open MPI need no arguments; elsewhere, as under Kubernetes, give
    the first three.

    When one process dies or ends with an exception, the others name it and end within
    about `heartbeat` seconds. For that, process 0 listens on a second port, which the
    system chooses. Processes that can't reach it warn; then only JAX ends them, with its
    own message.

    Args:
        coordinator: `"host:port"` of process 0, with a port that is free there.
        processes: The number of processes.
        process: The number of this process, from 0.
        timeout: Seconds to wait for the others.
        heartbeat: Seconds without a sign of life after which a process counts as dead.

    Raises:
        ValueError: If only some of the first three are given, if one of them is not valid,
            or if none is given and the environment does not tell them.
        ConnectionError: If the coordinator can't be reached in time.
        RuntimeError: If JAX has already computed something, or the others don't join in
            time.

    Example:
        >>> fnn.sharding.start_processes("10.0.0.1:1234", processes=2)
        Traceback (most recent call last):
        ...
        ValueError: give all of coordinator, processes and process, or none of them; got
            '10.0.0.1:1234', 2 and None
    """
    given = (coordinator, processes, process)
    if None in given and given != (None, None, None):
        raise ValueError(
            f"give all of coordinator, processes and process, or none of them; got "
            f"{coordinator!r}, {processes!r} and {process!r}"
        )
    if coordinator is not None:
        _check(coordinator, processes, process)
        if process:
            _reach(coordinator, process, timeout)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=heartbeat,
        )
    except (RuntimeError, ValueError) as error:
        error.add_note(_explanation(coordinator, processes))
        raise
    if jax.process_count() > 1:
        _watch(coordinator, heartbeat)


def is_first() -> bool:
    """Return whether this is the process that prints and writes."""
    return jax.process_index() == 0


def agreed(value: bool) -> bool:
    """Return the value of process 0; every process must call this."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def gathered(values: PyTree) -> PyTree:
    """Return values that every process holds whole; every process must call this."""

    def whole(leaf: Any) -> Any:
        if (
            not isinstance(leaf, jax.Array)
            or leaf.is_fully_addressable
            or leaf.is_fully_replicated
        ):
            return leaf
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, values)


def _watch(coordinator: str | None, heartbeat: int) -> None:
    """End this process when another one fails, and tell the others how this one ends."""
    process, processes = jax.process_index(), jax.process_count()

    def end(cause: str) -> None:
        sys.stderr.write(
            f"{cause}; process {process} ends too. Start all of them again with the same "
            f"command: training resumes from the last checkpoint.\n"
        )
        sys.stderr.flush()
        # Give the main thread time to end by itself. It may be waiting for the dead process
        # in a call of JAX, which an exception can't interrupt.
        time.sleep(heartbeat)
        os._exit(1)

    peers, address = Peers(process, processes, end), ""
    if process == 0:
        host, _, _ = (coordinator or "").rpartition(":")
        address = peers.listen(host.strip("[]") or socket.gethostname())
    padded = np.frombuffer(address.encode().ljust(ADDRESS_BYTES), np.uint8)
    address = np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes().decode()
    if process != 0:
        try:
            peers.join(address)
        except OSError as error:
            host, port, _ = address.split()
            warnings.warn(
                f"process {process} can't reach process 0 at {host}:{port}: {error}; it "
                f"will not be told which process fails",
                RuntimeWarning,
                stacklevel=3,
            )
    atexit.register(lambda: peers.close(_how_this_process_ends()))


def _how_this_process_ends() -> str:
    """Return `DONE`, or the uncaught exception."""
    error = getattr(sys, "last_value", None)
    if error is None:
        return DONE
    return f"failed: {type(error).__name__}: {error}"


def _check(coordinator: str, processes: Any, process: Any) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"coordinator must be 'host:port', got {coordinator!r}")
    count = checks.positive_integer("processes", processes)
    if not isinstance(process, int) or not 0 <= process < count:
        raise ValueError(
            f"process must be an integer from 0 to {count - 1}, got {process!r}"
        )


def _reach(coordinator: str, process: int, timeout: int) -> None:
    """Wait until process 0 listens; JAX would end this process without an exception."""
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError as error:
            if time.monotonic() < end:
                time.sleep(PAUSE)
                continue
            raise ConnectionError(
                f"process {process} could not reach the coordinator at {coordinator} in "
                f"{timeout} s: {error}; process 0 must run on that host with the same "
                f"arguments, and the port must be open"
            ) from error
        return


def _explanation(coordinator: str | None, processes: int | None) -> str:
    if coordinator is None:
        found = sorted(name for name in os.environ if name.startswith(("SLURM_", "OMPI_")))
        return (
            f"start_processes() without arguments needs an environment that names the "
            f"processes, such as Slurm's or Open MPI's; found "
            f"{found or 'nothing'}; else give coordinator='host:port', processes and "
            f"process"
        )
    return (
        f"all {processes} processes must start with the same coordinator, {coordinator!r}, "
        f"each with its own number, before JAX computes anything"
    )
