"""Accumulation, rematerialization and mixed precision: time and memory of a step.

    python -m benchmarks.precision [--rounds 7] [--networks mlp resnet20] [--small]

Each way of taking a step of Adam has the same batch and parameters; the ways run
interleaved in one process, and the times are medians. The memory is XLA's own account,
`fnn.memory_report`, of the temporaries of the step. `--small` shrinks
the networks.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import fnn

NETWORKS = ("mlp", "resnet20")
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


def resnet(depth: int, remat: bool = False) -> fnn.Layer:
    """Return the residual network for CIFAR, each block of it computed again on request."""
    layers = fnn.models.resnet_cifar(depth).layers
    if not remat:
        return fnn.Sequential(*layers)
    blocks = (fnn.Remat(x) if isinstance(x, fnn.Residual) else x for x in layers)
    return fnn.Sequential(*blocks)


def ways(model: fnn.Layer, remat: fnn.Layer) -> dict[str, tuple[fnn.Layer, int]]:
    """Return a model, and into how many microbatches to split, by name."""
    found = {f"accumulate {n}": (model, n) for n in (1, 2, 4, 8)}
    return found | {"Remat": (remat, 1), "MixedPrecision": (fnn.MixedPrecision(model), 1)}


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


def main(networks: Sequence[str] = NETWORKS, rounds: int = 7, small: bool = False) -> None:
    """Measure each network, and print the figures."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {rounds} rounds")
    for name in networks:
        if name == "mlp":
            width, depth, batch = (32, 4, 64) if small else (256, 24, 1024)
            build: Callable[..., fnn.Layer] = functools.partial(deep_mlp, width)
            shape: tuple[int, ...] = (batch, width)
            title = f"MLP, {depth} blocks of {width}, batch {batch}"
        else:
            depth, batch = (8, 8) if small else (20, 64)
            build, shape = resnet, (batch, 32, 32, 3)
            title = f"ResNet-{depth}, batch {batch}"
        models = ways(build(depth), build(depth, remat=True))
        show(title, measure(models, shape, rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    main(arguments.networks, arguments.rounds, arguments.small)
