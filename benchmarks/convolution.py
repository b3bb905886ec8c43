"""Convolutions and pools in fnn's forms against XLA's own, and what training gains.

    python -m benchmarks.convolution [--rounds 15]

Forward and backward passes of single layers, with the gradients of input and kernel, and
training steps (Adam, 128 images), alone and inside `lax.scan`. The rivals run interleaved
in one process; the figures are medians in milliseconds. "chosen" is the form that
`fnn.Conv` takes on this backend. The native models differ from fnn's in nothing but
`lax.conv_general_dilated` and `lax.reduce_window`.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.layers.correlation import Form, convolve, fastest
from fnn.layers.windows import slide

BATCH, SCANNED = 128, 4
FORMS: tuple[Form, ...] = ("native", "ordered", "patches")
CONVOLUTIONS = (  # images, kernel, features, groups
    ((128, 28, 28, 1), 3, 32, 1),
    ((128, 14, 14, 32), 3, 64, 1),
    ((64, 32, 32, 16), 3, 16, 1),
    ((64, 8, 8, 64), 3, 64, 1),
    ((32, 28, 28, 1), 5, 6, 1),
    ((128, 14, 14, 6), 5, 16, 1),
    ((64, 14, 14, 64), 1, 64, 1),
    ((32, 16, 16, 32), 3, 32, 4),
)
POOLS = (  # images, layer, and the reduction and start of XLA's own
    ((128, 28, 28, 32), fnn.MaxPool((2, 2)), jax.lax.max, -jnp.inf),
    ((64, 32, 32, 16), fnn.MaxPool((3, 3), stride=2), jax.lax.max, -jnp.inf),
    ((128, 28, 28, 32), fnn.AvgPool((2, 2)), jax.lax.add, 0.0),
)

Call = Callable[[], Any]


class NativeConv(fnn.Conv):
    """Leave the convolution and its gradients to XLA and JAX."""

    def _linear(self, kernel: jax.Array, x: jax.Array) -> jax.Array:
        spatial = x.shape[:-1]
        window = slide(self.kernel_size, self.stride, self.dilation, self.padding, spatial)
        return convolve(x, kernel, window, self.groups, "native")


class NativeMaxPool(fnn.MaxPool):
    """Pool by `lax.reduce_window`."""

    def forward(self, params: Any, x: jax.Array) -> jax.Array:
        return native_pool(self, x, jax.lax.max, -jnp.inf)


def native_pool(layer: Any, x: jax.Array, reduction: Any, start: float) -> jax.Array:
    """Reduce the windows of a pool without padding, by `lax.reduce_window`."""
    axes = len(layer.window)
    stride = layer.stride or layer.window
    steps = stride if isinstance(stride, tuple) else (stride,) * axes
    window = (*layer.window, 1)
    return jax.lax.reduce_window(x, start, reduction, window, (*steps, 1), "VALID")


def interleaved(calls: Mapping[Any, Call], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each call, taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def show(title: str, figures: dict[str, float]) -> None:
    """Print a row of figures."""
    row = "   ".join(f"{name} {value:7.2f}" for name, value in figures.items())
    print(f"{title:38} {row}", flush=True)


def normal(*shape: int) -> jax.Array:
    """Return normal random numbers, the same at every call."""
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def forward_and_backward(function: Callable[..., jax.Array], *arguments: jax.Array) -> Call:
    """Return a call that computes outputs and the gradients of all arguments."""

    def passes(*arguments: jax.Array) -> Any:
        y, pull = jax.vjp(function, *arguments)
        return y, pull(jnp.cos(y))

    return functools.partial(jax.jit(passes), *arguments)


def compare_convolutions(rounds: int) -> None:
    """Time single convolutions, padded to keep their size, in each form."""
    for shape, size, features, groups in CONVOLUTIONS:
        xs, kernel = normal(*shape), normal(size, size, shape[-1] // groups, features)
        window = slide((size, size), 1, 1, "same", shape[1:-1])
        calls = {}
        for form in FORMS:
            one = functools.partial(convolve, window=window, groups=groups, form=form)
            calls[form] = forward_and_backward(jax.vmap(one, (0, None)), xs, kernel)
        title = f"{shape} {size}x{size}, {features}"
        show(
            title + (f", {groups} groups" if groups > 1 else ""), interleaved(calls, rounds)
        )
        print(f"{'':38} chosen: {fastest(kernel, groups)}")


def compare_pools(rounds: int) -> None:
    """Time single pools."""
    for shape, layer, reduction, start in POOLS:
        native = functools.partial(native_pool, layer, reduction=reduction, start=start)
        calls = {
            "native": forward_and_backward(jax.vmap(native), normal(*shape)),
            "fnn": forward_and_backward(
                functools.partial(fnn.batched(layer), {}), normal(*shape)
            ),
        }
        show(f"{shape} {type(layer).__name__} {layer.window}", interleaved(calls, rounds))


def lenet(conv: type[fnn.Conv], pool: type[fnn.MaxPool]) -> fnn.Sequential:
    """Make LeNet-5."""
    relu = jax.nn.relu
    body = conv(6, (5, 5), padding=2), relu, pool((2, 2)), conv(16, (5, 5)), relu
    head = fnn.Dense(120), relu, fnn.Dense(84), relu, fnn.Dense(10)
    return fnn.Sequential(*body, pool((2, 2)), fnn.Flatten(), *head)


def small(conv: type[fnn.Conv], pool: type[fnn.MaxPool]) -> fnn.Sequential:
    """Make a network of two convolutions of 32 and 64 features."""
    relu = jax.nn.relu
    first = conv(32, (3, 3), padding="same"), relu, pool((2, 2))
    second = conv(64, (3, 3), padding="same"), relu, pool((2, 2))
    return fnn.Sequential(
        *first, *second, fnn.Flatten(), fnn.Dense(128), relu, fnn.Dense(10)
    )


def training(model: fnn.Sequential, scanned: bool) -> Call:
    """Return a call that takes one training step, or several inside a loop."""
    xs, ys = normal(BATCH, 28, 28, 1), jnp.arange(BATCH) % 10
    adam = fnn.optimizers.Adam(1e-3)
    params, state = model.init(jax.random.key(0), xs[0])
    train_state = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    step = fnn.make_step(objective, adam)
    if not scanned:
        return functools.partial(jax.jit(step), train_state, (xs, ys))

    def steps(train_state: Any, batch: Any) -> Any:
        def body(carry: Any, _: None) -> Any:
            return step(carry, batch)

        return jax.lax.scan(body, train_state, None, length=SCANNED)

    return functools.partial(jax.jit(steps), train_state, (xs, ys))


def compare_training(rounds: int) -> None:
    """Time training steps, alone and inside a loop."""
    for make in (lenet, small):
        models = {
            "native": make(NativeConv, NativeMaxPool),
            "fnn": make(fnn.Conv, fnn.MaxPool),
        }
        for scanned in (False, True):
            calls = {name: training(model, scanned) for name, model in models.items()}
            # XLA's naive convolutions inside loops are slow enough to need few rounds.
            figures = interleaved(calls, min(rounds, 5) if scanned else rounds)
            each = {name: t / (SCANNED if scanned else 1) for name, t in figures.items()}
            show(f"{make.__name__}, a step{' of a scan' if scanned else ''}", each)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    compare_convolutions(rounds)
    compare_pools(rounds)
    compare_training(rounds)


if __name__ == "__main__":
    main()
