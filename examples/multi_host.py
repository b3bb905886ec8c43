"""Train one network in several processes, each with its own devices and its own data.

    python examples/multi_host.py outputs/multi_host

starts two processes on this machine, each with two simulated devices, that train one
perceptron on digits. Every process runs this same script; together they see four devices,
and the batch of every step is split among them. Each reads only its own part of a batch;
the first alone prints and writes checkpoints. If one is killed, the others end within half
a minute, and the same command goes on from the last checkpoint.

On a cluster nothing starts the processes here: the scheduler does, one for each host, and
`main(folder)` is all that runs.

- Slurm: `srun --ntasks-per-node=1 python train.py`. `start_processes()` needs no arguments.
- TPU virtual machines: the same command on every worker, `gcloud compute tpus tpu-vm ssh
  NAME --worker=all --command="python train.py"`; no arguments either.
- Kubernetes: an indexed Job behind a headless service, and
  `start_processes("job-0.service:1234", size, int(os.environ["JOB_COMPLETION_INDEX"]))`.

The folder for checkpoints must be one that all hosts see.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import jax
import numpy as np

import fnn

EPOCHS, BATCH = 5, 64
DEVICES = "--xla_force_host_platform_device_count=2"


def main(folder: str, epochs: int = EPOCHS) -> float:
    """Train, in every process; return the accuracy on the images of the test."""
    layout = fnn.sharding.Layout(fnn.sharding.make_mesh())
    images, labels = map(np.asarray, fnn.data.digits())
    (x, y), test = (images[:1437], labels[:1437]), (images[1437:], labels[1437:])
    mine = layout.rows_of_process(BATCH)

    def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.random.default_rng(epoch).permutation(len(x))  # the same in all
        for rows in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
            yield x[rows[mine]], y[rows[mine]]

    model = fnn.Sequential(fnn.Flatten(), fnn.Dense(64), jax.nn.relu, fnn.Dense(10))
    params, state, _ = fnn.fit(
        model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(1e-2),
        batches,
        key=jax.random.key(0),
        epochs=epochs,
        checkpoint=folder,
        mesh=layout.mesh,
        sharding=fnn.sharding.FullySharded(),
    )
    accuracy = {"accuracy": fnn.metrics.accuracy}
    return fnn.evaluate(model, params, state, test, accuracy, mesh=layout.mesh)["accuracy"]


def launch(folder: str, processes: int = 2) -> int:
    """Start the processes on this machine, and wait for them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "XLA_FLAGS": DEVICES, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, folder, coordinator, str(processes)]
    started = [
        subprocess.Popen([*command, str(process)], env=environment)
        for process in range(processes)
    ]
    return max(abs(process.wait()) for process in started)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(launch(sys.argv[1] if sys.argv[1:] else "outputs/multi_host"))
    folder, coordinator, processes, process = sys.argv[1:]
    fnn.sharding.start_processes(coordinator, int(processes), int(process))
    accuracy = main(folder)
    if process == "0":
        print(f"{jax.device_count()} devices in {processes} processes: {accuracy:.1%}")
