"""The step of fnn as XLA compiles it by itself, over all devices, and in parts."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.suite import Program, RefusedError
from benchmarks.training import networks
from benchmarks.training.fnn_step import filled, network
from benchmarks.training.jax_program import program
from fnn.sharding import Layout, make_mesh

PART = 32


def by_default(name: str) -> Program:
    """Return the step of a case, compiled without `fnn.compiler_options`."""
    return _program(networks.Case.parse(name), Layout(make_mesh()), options={})


def on_mesh(name: str) -> Program:
    """Return the step of a case, its batch split over the devices."""
    return _program(networks.Case.parse(name), Layout(make_mesh()))


def in_parts(name: str) -> Program:
    """Return the step of a case that adds the gradients of the parts of its batch."""
    case = networks.Case.parse(name)
    if case.network == "resnet20":
        raise RefusedError("its batch norm would see parts of the batch")
    return _program(case, Layout(make_mesh()), case.batch // PART)


def _program(
    case: networks.Case,
    layout: Layout,
    parts: int = 1,
    options: dict[str, str] | None = None,
) -> Program:
    options = fnn.compiler_options() if options is None else options
    model, adam = network(case.network), fnn.optimizers.Adam(networks.RATE)
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    params, state = model.init(jax.random.key(0), x[0])
    params = filled(params, iter(networks.weights(case.network)))
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    step = fnn.make_step(objective, adam, accumulate=parts, layout=layout)
    jitted = jax.jit(step, donate_argnums=0, compiler_options=options)
    batch = layout.place_batch((x, y))
    start = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
    carry = [layout.place(start, params)]

    def run() -> Any:
        carry[0], metrics = jitted(carry[0], batch)
        return metrics["loss"]

    return program(run, lambda: jitted.lower(carry[0], batch), case)
