"""Compile real training steps for TPU topologies, on a machine that has none.

    JAX_PLATFORMS=cpu python -m benchmarks.scale --topology v5e:2x4

needs the extra `tpu`. It prints, per chip: memory, FLOPs, the collectives and their bytes;
and what published peak rates make of these. `--network`, `--step` and `--strategy` choose.
"""

import argparse
import functools
import itertools
import re
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies

import fnn
from benchmarks.scale.networks import NETWORKS, Problem
from fnn import per_example
from fnn.sharding import FullySharded, Layout, Replicated, make_mesh

STRATEGIES = {"replicated": Replicated(), "fully sharded": FullySharded()}
# Of one v5e chip, as Google publishes it: bfloat16, and all four links together.
FLOPS, MEMORY, LINKS = 197e12, 16 * 2**30, 200e9
COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)"
    r"(?:-start)?\("
)
ARRAY = re.compile(r"(f32|bf16|s32|u32|pred)\[([0-9,]*)\]")
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}


class Row(NamedTuple):
    """What one compiled step takes of one chip."""

    network: str
    step: str
    strategy: str
    chips: int
    gib: float
    tflop: float
    collectives: str
    sent_mib: float
    compute_ms: float
    communication_ms: float
    compiled_s: float


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
            grads = gradient(params, *batch)
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


def sent_bytes(program: str, chips: int) -> tuple[str, float]:
    """Return how often each collective occurs, and the bytes that one chip sends.

    By ring algorithms, as on a torus: a sum of n bytes sends 2 n (k - 1) / k of them, a
    gathering of n bytes in all, and a scattering, n (k - 1) / k.
    """
    counts: dict[str, int] = {}
    total = 0.0
    for shapes, kind in COLLECTIVE.findall(program):
        counts[kind] = counts.get(kind, 0) + 1
        arrays = [
            BYTES[dtype] * functools.reduce(lambda n, m: n * int(m), filter(None, dims), 1)
            for dtype, dims in ((d, text.split(",")) for d, text in ARRAY.findall(shapes))
        ]
        factor = 2 if kind == "all-reduce" else chips if kind == "reduce-scatter" else 1
        total += factor * sum(arrays) * (chips - 1) / chips
    text = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return text, total


def measure(network: str, topology: Any, name: str, *, clipped: bool) -> Row:
    """Compile one step and read its program."""
    chips = len(topology.devices)
    layout = Layout(make_mesh(devices=topology.devices), STRATEGIES[name])
    began = time.perf_counter()
    program = compiled(NETWORKS[network](), layout, clipped=clipped)
    seconds = time.perf_counter() - began
    used, cost = program.memory_analysis(), program.cost_analysis()
    nbytes = (
        used.argument_size_in_bytes
        + used.output_size_in_bytes
        - used.alias_size_in_bytes
        + used.temp_size_in_bytes
    )
    collectives, sent = sent_bytes(program.as_text(), chips)
    return Row(
        network,
        "clipped" if clipped else "ordinary",
        name,
        chips,
        nbytes / 2**30,
        cost["flops"] / 1e12,
        collectives,
        sent / 2**20,
        1e3 * cost["flops"] / FLOPS,
        1e3 * sent / LINKS,
        seconds,
    )


def main() -> None:
    """Print a row for every step that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--network", choices=NETWORKS, nargs="*", default=list(NETWORKS))
    parser.add_argument("--strategy", choices=STRATEGIES, nargs="*", default=[*STRATEGIES])
    parser.add_argument("--step", choices=["ordinary", "clipped"], nargs="*")
    asked = parser.parse_args()
    topology = topologies.get_topology_desc(platform="tpu", topology_name=asked.topology)
    steps = asked.step or ["ordinary", "clipped"]
    print(f"| {' | '.join(name.replace('_', ' ') for name in Row._fields)} |")
    print(f"|{'---|' * len(Row._fields)}")
    for network, strategy, step in itertools.product(asked.network, asked.strategy, steps):
        row = measure(network, topology, strategy, clipped=step == "clipped")
        cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
