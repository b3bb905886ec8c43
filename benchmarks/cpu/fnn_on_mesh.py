"""The step of fnn, with the batch split over all devices of the process."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.fnn_step import filled, network
from benchmarks.training.jax_program import program
from fnn.sharding import Layout, make_mesh


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    model, adam = network(case.network), fnn.optimizers.Adam(networks.RATE)
    layout = Layout(make_mesh())
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    params, state = model.init(jax.random.key(0), x[0])
    params = filled(params, iter(networks.weights(case.network)))
    loss = fnn.losses.softmax_cross_entropy
    step = fnn.make_step(fnn.supervised(model, loss), adam, layout=layout)
    jitted, batch = jax.jit(step, donate_argnums=0), layout.place_batch((x, y))
    start = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
    carry = [layout.place(start, params)]

    def run() -> Any:
        carry[0], metrics = jitted(carry[0], batch)
        return metrics["loss"]

    return program(run, lambda: jitted.lower(carry[0], batch), case)
