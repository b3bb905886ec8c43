"""Training steps that are compiled for chips that are not there, and what they hold."""

import functools
import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies

import fnn
from benchmarks.scale.networks import NETWORKS, Problem
from benchmarks.scale.report import Row
from fnn import per_example
from fnn.sharding import FullySharded, Layout, Replicated, make_mesh

STRATEGIES = {"replicated": Replicated(), "fully sharded": FullySharded()}
COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)"
    r"(?:-start)?\("
)
# A sum of which each chip keeps its part is a fusion, whose computation sums it all.
SCATTER = re.compile(r"^%all-reduce-scatter.*?^}", re.DOTALL | re.MULTILINE)
ARRAY = re.compile(r"(f32|bf16|s32|u32|pred)\[([0-9,]*)\]")
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}


def objective(problem: Problem, clipped: bool) -> Any:
    """Return what gives gradients of a batch: the mean's, or the clipped ones'."""
    if clipped:
        clip = per_example.clipped_gradient(problem.loss, 1.0, normalize_by=1.0)
        return lambda params, *batch: clip(params, *batch).gradient
    return jax.grad(
        lambda params, *batch: jnp.mean(
            jax.vmap(functools.partial(problem.loss, params))(*batch)
        )
    )


def compiled(problem: Problem, layout: Layout, *, clipped: bool) -> Any:
    """Compile a step of Adam, the state donated and born where it lies."""
    adam, gradient = fnn.optimizers.Adam(1e-3), objective(problem, clipped)

    def create(key: Any) -> Any:
        params = problem.init(key)
        return params, adam.init(params)

    def step(state: Any, batch: Any) -> Any:
        params, opt_state = state
        with layout.tracing():
            grads = layout.scatter(gradient(layout.gather(params), *batch), params)
            updates, opt_state = adam.update(grads, opt_state, params)
            new = fnn.optimizers.apply_updates(params, updates), opt_state
            return layout.constrain(new, params)

    state = jax.eval_shape(create, jax.random.key(0))
    placed = jax.tree.map(
        lambda leaf, sharding: leaf.update(sharding=sharding),
        state,
        layout.shardings(state, state[0]),
    )
    size = problem.batch_per_chip * layout.parts
    batch = tuple(
        jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype, sharding=layout.batch)
        for leaf in problem.example
    )
    return jax.jit(step, donate_argnums=0).lower(placed, batch).compile()


def nbytes(shapes: str) -> int:
    """Return the bytes of the arrays that a line of a program names."""
    return sum(
        BYTES[kind] * math.prod(int(length) for length in dims.split(",") if length)
        for kind, dims in ARRAY.findall(shapes)
    )


def communication(program: str, chips: int) -> tuple[dict[str, int], float]:
    """Return how often each collective occurs, and the bytes that one chip sends.

    By ring algorithms, as on a torus: a sum of n bytes sends 2 n (k - 1) / k of them, a
    gathering of n bytes in all, and a scattering, n (k - 1) / k.
    """
    scatters = [text.group() for text in SCATTER.finditer(program)]
    found = [
        ("reduce-scatter" if kind == "all-reduce" else kind, nbytes(shapes))
        for text in scatters
        for shapes, kind in COLLECTIVE.findall(text)
    ]
    for shapes, kind in COLLECTIVE.findall(SCATTER.sub("", program)):
        parts = chips if kind == "reduce-scatter" else 1
        found.append((kind, parts * nbytes(shapes)))
    counts: dict[str, int] = {}
    for kind, _ in found:
        counts[kind] = counts.get(kind, 0) + 1
    sent = sum(n * (2 if kind == "all-reduce" else 1) for kind, n in found)
    return dict(sorted(counts.items())), sent * (chips - 1) / chips


def measure(topology: str, network: str, strategy: str, step: str) -> Row:
    """Compile one step and read its program."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    layout = Layout(make_mesh(devices=devices), STRATEGIES[strategy])
    problem, began = NETWORKS[network](), time.perf_counter()
    program = compiled(problem, layout, clipped=step == "clipped")
    seconds = time.perf_counter() - began
    used, cost = program.memory_analysis(), program.cost_analysis()
    counts, sent = communication(program.as_text(), len(devices))
    return Row(
        topology=topology,
        network=network,
        strategy=strategy,
        step=step,
        chips=len(devices),
        batch_per_chip=problem.batch_per_chip,
        weights=fnn.tree.size(jax.eval_shape(problem.init, jax.random.key(0))),
        memory=used.argument_size_in_bytes
        + used.output_size_in_bytes
        - used.alias_size_in_bytes
        + used.temp_size_in_bytes,
        flops=cost["flops"],
        traffic=cost["bytes accessed"],
        collectives=counts,
        sent=sent,
        compile_seconds=seconds,
    )
