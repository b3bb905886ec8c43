"""Accumulation, rematerialization and mixed precision: time and memory of a step.

    python -m benchmarks.precision [--rounds 7] [--small]

Each way of taking a step of Adam has the same batch and parameters; the ways run
interleaved in one process, and the times are medians. The memory is XLA's own account,
`fnn.memory_report`, of the temporaries of the step. `--small` leaves out
ResNet-20, and shrinks the MLP.
"""

import argparse
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn

OPTIMIZER = fnn.optimizers.Adam(1e-3)


def deep_mlp(width: int, depth: int, remat: bool = False) -> fnn.Layer:
    """Return residual blocks of two layers, as one loop over depth, and a head."""
    block: fnn.Layer = fnn.Residual(
        fnn.Sequential(
            fnn.LayerNorm(), fnn.Dense(width), jax.nn.gelu, fnn.Dense(width), jax.nn.gelu
        )
    )
    block = fnn.Remat(block) if remat else block
    return fnn.Sequential(fnn.Dense(width), fnn.Repeat(block, depth), fnn.Dense(10))


def ways(model: fnn.Layer, remat: fnn.Layer | None) -> dict[str, tuple[fnn.Layer, int]]:
    """Return a model, and into how many microbatches to split, by name."""
    found = {f"accumulate {n}": (model, n) for n in (1, 2, 4, 8)}
    if remat is not None:
        found["Remat"] = remat, 1
    return found | {"MixedPrecision": (fnn.MixedPrecision(model), 1)}


def measure(
    models: dict[str, tuple[fnn.Layer, int]], shape: tuple[int, ...], rounds: int
) -> dict[str, tuple[float, float]]:
    """Return the median seconds and the MiB of temporaries of a step, by name."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape), "float32")
    y = jnp.asarray(rng.integers(10, size=shape[0]), "int32")
    calls, memory = {}, {}
    for name, (model, accumulate) in models.items():
        objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
        step = jax.jit(fnn.make_step(objective, OPTIMIZER, accumulate=accumulate))
        params, state = jax.jit(model.init)(jax.random.key(0), x[0])
        key = jax.random.key(1)
        train_state = fnn.TrainState.create(params, state, OPTIMIZER, key=key)
        memory[name] = fnn.memory_report(step, train_state, (x, y)).temporaries / 2**20
        calls[name] = functools.partial(step, train_state, (x, y))
        jax.block_until_ready(calls[name]())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - began)
    return {name: (statistics.median(seconds[name]), memory[name]) for name in calls}


def show(title: str, figures: dict[str, tuple[float, float]]) -> None:
    """Print a table, the first row being what the others are compared to."""
    (base_time, base_memory), *_ = figures.values()
    print(f"\n{title}\n\n| step | ms | times | temporaries, MiB | times |")
    print("|---|---|---|---|---|")
    for name, (seconds, memory) in figures.items():
        print(
            f"| {name} | {1e3 * seconds:.1f} | {seconds / base_time:.2f} "
            f"| {memory:.1f} | {memory / base_memory:.2f} |"
        )


def main(rounds: int = 7, small: bool = False) -> dict[str, dict[str, tuple[float, float]]]:
    """Measure, print and return the figures of each network."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {rounds} rounds")
    width, depth, batch = (32, 4, 64) if small else (256, 24, 1024)
    mlp = ways(deep_mlp(width, depth), deep_mlp(width, depth, remat=True))
    results = {}

    def run(title: str, models: dict[str, Any], shape: tuple[int, ...]) -> None:
        results[title] = measure(models, shape, rounds)
        show(title, results[title])

    run(f"MLP, {depth} blocks of {width}, batch {batch}", mlp, (batch, width))
    if not small:
        run("ResNet-20, batch 64", ways(fnn.models.resnet_cifar(20), None), (64, 32, 32, 3))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.small)
