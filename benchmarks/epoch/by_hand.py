"""Loops by hand over the hand-written step of `benchmarks.training`.

`scan` is one compiled `lax.scan` over an epoch, on data on the device. `loop`
calls the jitted, donated step with rows that NumPy gathers.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.epoch import BATCH
from benchmarks.epoch.data import mnist
from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.raw_jax import train_step


@functools.partial(jax.jit, static_argnames="case", donate_argnums=0)
def scan_epoch(carry: Any, x: Any, y: Any, order: Any, case: networks.Case) -> Any:
    """Take the steps of an epoch in a compiled loop; `order` is (steps, batch)."""
    return jax.lax.scan(
        lambda carry, rows: train_step(carry, x[rows], y[rows], case), carry, order
    )


def loop_epoch(carry: Any, x: Any, y: Any, order: Any, case: networks.Case) -> Any:
    """Take the steps of an epoch, one call each; x and y are NumPy's."""
    losses = []
    for rows in order:
        carry, loss = train_step(carry, x[rows], y[rows], case)
        losses.append(loss)
    return carry, jnp.stack(losses)


def program(epoch: Callable[..., Any], name: str, data: Any) -> Program:
    """Return an epoch, each in a new order."""
    case = networks.Case(name, BATCH, bfloat16=False)
    params = [jnp.asarray(array) for array in networks.weights(name)]
    m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    carry: list[Any] = [(params, m, v, jnp.float32(0), [])]
    rng = np.random.default_rng(0)

    def run() -> float:
        order = rng.permutation(len(data[0])).reshape(-1, BATCH)
        carry[0], losses = epoch(carry[0], *data, order, case)
        return float(losses.mean())

    return Program(run, {}, [run() for _ in range(2)])


def scan(case: str) -> Program:
    """Return an epoch of a case in a compiled loop."""
    return program(scan_epoch, case, jax.tree.map(jnp.asarray, mnist(case)))


def loop(case: str) -> Program:
    """Return an epoch of a case in a loop on the host."""
    return program(loop_epoch, case, mnist(case))
