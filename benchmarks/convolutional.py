"""A training step of LeNet and of ResNet-20: fnn, Flax, Equinox and PyTorch.

    python -m benchmarks.convolutional [--rounds 15] [--networks lenet resnet20]

Needs the extra `bench`. All train the same network by Adam on the same random images, in
float32, interleaved in one process; medians of the time of a step are printed, and ratios
to fnn's. Time to compile is apart. That all have as many parameters is checked.
"""

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.nn import functional

import fnn

SHAPES = {"lenet": (28, 28, 1), "resnet20": (32, 32, 3)}
BATCH = {"lenet": 128, "resnet20": 64}
Step = Callable[[], Any]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of a batch, by Optax."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def fnn_step(network: str, x: jax.Array, y: jax.Array) -> tuple[Step, int]:
    """Return a step of fnn, and the number of parameters."""
    models = {"lenet": fnn.models.lenet(), "resnet20": fnn.models.resnet_cifar(20)}
    model, adam = models[network], fnn.optimizers.Adam(1e-3)
    params, state = jax.jit(model.init)(jax.random.key(0), x[0])
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    step = jax.jit(fnn.make_step(objective, adam), donate_argnums=0)
    size = fnn.tree.size(params)
    carry = [fnn.TrainState.create(params, state, adam, key=jax.random.key(1))]

    def run() -> Any:
        carry[0], metrics = step(carry[0], (x, y))
        return jax.block_until_ready(metrics["loss"])

    return run, size


class FlaxLeNet(nn.Module):
    """LeNet in Flax."""

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = nn.max_pool(nn.relu(nn.Conv(6, (5, 5), padding=2)(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (5, 5), padding="VALID")(x))
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(10)(nn.relu(nn.Dense(84)(nn.relu(nn.Dense(120)(x)))))


class FlaxResNet(nn.Module):
    """ResNet-20 in Flax, with projections where the shape changes."""

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        conv = functools.partial(nn.Conv, use_bias=False, padding=1)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train)
        x = nn.relu(norm()(conv(16, (3, 3))(x)))
        for stage in range(3):
            for block in range(3):
                features, stride = 16 * 2**stage, 2 if stage and not block else 1
                y = nn.relu(norm()(conv(features, (3, 3), stride)(x)))
                y = norm()(conv(features, (3, 3))(y))
                if stride == 2:
                    x = norm()(conv(features, (1, 1), stride, padding=0)(x))
                x = nn.relu(x + y)
        return nn.Dense(10)(x.mean((1, 2)))


def flax_step(network: str, x: jax.Array, y: jax.Array) -> tuple[Step, int]:
    """Return a step of Flax and Optax, and the number of parameters."""
    model: Any = {"lenet": FlaxLeNet(), "resnet20": FlaxResNet()}[network]
    variables = jax.jit(model.init)(jax.random.key(0), x)
    params, stats = variables["params"], variables.get("batch_stats", {})
    adam = optax.adam(1e-3)

    def loss(params: Any, stats: Any) -> tuple[jax.Array, Any]:
        both = {"params": params, "batch_stats": stats}
        logits, new = model.apply(both, x, mutable=["batch_stats"])
        return cross_entropy(logits, y), new.get("batch_stats", {})

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, stats: Any, opt_state: Any) -> Any:
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params, stats)
        updates, opt_state = adam.update(grads, opt_state)
        return optax.apply_updates(params, updates), stats, opt_state, value

    size = fnn.tree.size(params)
    carry = [params, stats, adam.init(params)]

    def run() -> Any:
        *carry[:], value = step(*carry)
        return jax.block_until_ready(value)

    return run, size


class EquinoxBlock(eqx.Module):
    """A residual block in Equinox."""

    convs: list[eqx.nn.Conv2d]
    norms: list[eqx.nn.BatchNorm]
    around: tuple[eqx.nn.Conv2d, eqx.nn.BatchNorm] | None

    def __init__(self, inputs: int, features: int, stride: int, key: jax.Array) -> None:
        a, b, c = jax.random.split(key, 3)
        conv = functools.partial(eqx.nn.Conv2d, use_bias=False)
        norm = functools.partial(eqx.nn.BatchNorm, axis_name="batch", mode="batch")
        self.convs = [
            conv(inputs, features, 3, stride, 1, key=a),
            conv(features, features, 3, 1, 1, key=b),
        ]
        self.norms = [norm(features), norm(features)]
        self.around = None
        if stride == 2:
            self.around = (conv(inputs, features, 1, stride, key=c), norm(features))

    def __call__(self, x: Any, state: Any) -> Any:
        y, state = self.norms[0](self.convs[0](x), state)
        y, state = self.norms[1](self.convs[1](jax.nn.relu(y)), state)
        if self.around is not None:
            x, state = self.around[1](self.around[0](x), state)
        return jax.nn.relu(x + y), state


class EquinoxResNet(eqx.Module):
    """ResNet-20 in Equinox."""

    stem: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    blocks: list[EquinoxBlock]
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        keys = iter(jax.random.split(key, 11))
        self.stem = eqx.nn.Conv2d(3, 16, 3, 1, 1, use_bias=False, key=next(keys))
        self.norm = eqx.nn.BatchNorm(16, axis_name="batch", mode="batch")
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = [
            EquinoxBlock(a, b, 1 if a == b else 2, next(keys))
            for a, b in itertools.pairwise(widths)
        ]
        self.head = eqx.nn.Linear(64, 10, key=next(keys))

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.norm(self.stem(x), state)
        x = jax.nn.relu(x)
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(x.mean((1, 2))), state


class EquinoxLeNet(eqx.Module):
    """LeNet in Equinox."""

    convs: list[eqx.nn.Conv2d]
    dense: list[eqx.nn.Linear]

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 5)
        conv, linear = eqx.nn.Conv2d, eqx.nn.Linear
        self.convs = [conv(1, 6, 5, 1, 2, key=keys[0]), conv(6, 16, 5, key=keys[1])]
        sizes = [(400, 120), (120, 84), (84, 10)]
        self.dense = [linear(*s, key=k) for s, k in zip(sizes, keys[2:], strict=True)]

    def __call__(self, x: Any, state: Any) -> Any:
        pool = eqx.nn.MaxPool2d(2, 2)
        for conv in self.convs:
            x = pool(jax.nn.relu(conv(x)))
        x = x.ravel()
        for layer in self.dense[:-1]:
            x = jax.nn.relu(layer(x))
        return self.dense[-1](x), state


def equinox_step(network: str, x: jax.Array, y: jax.Array) -> tuple[Step, int]:
    """Return a step of Equinox and Optax, and the number of parameters."""
    x = jnp.transpose(x, (0, 3, 1, 2))  # channels come first there
    kind = {"lenet": EquinoxLeNet, "resnet20": EquinoxResNet}[network]
    model, state = eqx.nn.make_with_state(kind)(jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    adam = optax.adam(1e-3)

    def loss(params: Any, state: Any) -> tuple[jax.Array, Any]:
        model = eqx.combine(params, static)
        apply = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        logits, state = apply(x, state)
        return cross_entropy(logits, y), state

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, state: Any, opt_state: Any) -> Any:
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state)
        updates, opt_state = adam.update(grads, opt_state)
        return optax.apply_updates(params, updates), state, opt_state, value

    size = fnn.tree.size(params)
    carry = [params, state, adam.init(params)]

    def run() -> Any:
        *carry[:], value = step(*carry)
        return jax.block_until_ready(value)

    return run, size


class TorchBlock(torch.nn.Module):
    """A residual block in PyTorch."""

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        conv = functools.partial(torch.nn.Conv2d, bias=False)
        norm = torch.nn.BatchNorm2d
        self.branch = torch.nn.Sequential(
            conv(inputs, features, 3, stride, 1),
            norm(features),
            torch.nn.ReLU(),
            conv(features, features, 3, 1, 1),
            norm(features),
        )
        self.around = torch.nn.Identity()
        if stride == 2:
            projection = conv(inputs, features, 1, stride)
            self.around = torch.nn.Sequential(projection, norm(features))

    def forward(self, x: Any) -> Any:
        return functional.relu(self.around(x) + self.branch(x))


def torch_model(network: str) -> Any:
    """Return the network in PyTorch."""
    t = torch.nn
    if network == "lenet":
        return t.Sequential(
            t.Conv2d(1, 6, 5, padding=2), t.ReLU(), t.MaxPool2d(2),
            t.Conv2d(6, 16, 5), t.ReLU(), t.MaxPool2d(2), t.Flatten(),
            t.Linear(400, 120), t.ReLU(), t.Linear(120, 84), t.ReLU(), t.Linear(84, 10),
        )  # fmt: skip
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [TorchBlock(a, b, 1 if a == b else 2) for a, b in itertools.pairwise(widths)]
    stem = [t.Conv2d(3, 16, 3, 1, 1, bias=False), t.BatchNorm2d(16), t.ReLU()]
    return t.Sequential(
        *stem, *blocks, t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(64, 10)
    )


def torch_step(network: str, x: jax.Array, y: jax.Array) -> tuple[Step, int]:
    """Return an eager step of PyTorch, and the number of parameters."""
    inputs = torch.tensor(np.transpose(np.asarray(x), (0, 3, 1, 2)).copy())
    inputs = inputs.to(memory_format=torch.channels_last)
    labels = torch.tensor(np.asarray(y), dtype=torch.int64)
    model = torch_model(network).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), 1e-3)

    def run() -> Any:
        adam.zero_grad()
        value = functional.cross_entropy(model(inputs), labels)
        value.backward()
        adam.step()
        return value.item()

    return run, sum(p.numel() for p in model.parameters())


RIVALS = {"fnn": fnn_step, "flax": flax_step, "equinox": equinox_step, "torch": torch_step}


def main(rounds: int, networks: list[str]) -> None:
    """Measure and print."""
    device = jax.devices()[0].device_kind
    print(f"{device}, jax {jax.__version__}, torch {torch.__version__}, {rounds} rounds")
    for network in networks:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(BATCH[network], *SHAPES[network])), jnp.float32)
        y = jnp.asarray(rng.integers(0, 10, BATCH[network]), jnp.int32)
        steps, sizes, compiled = {}, set(), {}
        for name, make in RIVALS.items():
            steps[name], size = make(network, x, y)
            sizes.add(size)
            compiled[name] = timed(steps[name])
            for _ in range(3):
                steps[name]()
        assert len(sizes) == 1, sizes
        samples: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                samples[name].append(min(timed(step) for _ in range(2)))
        medians = {name: statistics.median(values) for name, values in samples.items()}
        print(f"{network}, {sizes.pop():,} parameters, batch {BATCH[network]}")
        for name, median in medians.items():
            print(
                f"  {name:8} {1e3 * median:7.1f} ms a step, "
                f"{median / medians['fnn']:5.2f} of fnn's; "
                f"first step {compiled[name]:.1f} s"
            )


def timed(step: Step) -> float:
    """Return the seconds that a step takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--networks", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.networks)
