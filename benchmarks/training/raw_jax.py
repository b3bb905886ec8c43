"""JAX by hand: parameters in a list, plain functions, and Adam over `jax.tree.map`."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.jax_program import program

Stats = list[tuple[jax.Array, jax.Array]]


def conv(kernel: Any, x: Any, stride: int = 1, padding: int | None = None) -> Any:
    """Convolve images; by default the padding keeps their size."""
    margin = kernel.shape[0] // 2 if padding is None else padding
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(margin, margin)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def max_pool(x: Any, size: int = 2, padding: int = 0) -> Any:
    """Return the maxima of windows that move by 2."""
    margins = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    window, strides = (1, size, size, 1), (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, margins)


def batch_norm(p: Iterator[Any], x: Any, stats: Stats) -> Any:
    """Normalize over the batch; the statistics are put into `stats`."""
    scale, shift = next(p), next(p)
    z = x.astype(jnp.float32)
    mean, variance = z.mean((0, 1, 2)), z.var((0, 1, 2))
    stats.append((mean, variance))
    factor = scale * lax.rsqrt(variance + networks.EPS)
    return ((z - mean) * factor + shift).astype(x.dtype)


def dense(p: Iterator[Any], x: Any) -> Any:
    """Return x W + b."""
    return x @ next(p) + next(p)


def mlp(p: Iterator[Any], x: Any, layers: int) -> Any:
    """Apply dense layers, with ReLU between them."""
    for _ in range(layers - 1):
        x = jax.nn.relu(dense(p, x))
    return dense(p, x)


def lenet(p: Iterator[Any], x: Any) -> Any:
    """Apply LeNet-5."""
    for padding in (2, 0):
        x = max_pool(jax.nn.relu(conv(next(p), x, padding=padding) + next(p)))
    return mlp(p, x.reshape(x.shape[0], -1), 3)


def cnn(p: Iterator[Any], x: Any) -> Any:
    """Apply two convolutions, each with pooling, and two dense layers."""
    for _ in range(2):
        x = max_pool(jax.nn.relu(conv(next(p), x) + next(p)))
    return mlp(p, x.reshape(x.shape[0], -1), 2)


def resnet(p: Iterator[Any], x: Any, network: str, stats: Stats) -> Any:
    """Apply ResNet-20 or ResNet-50."""

    def normed(x: Any, stride: int) -> Any:
        return batch_norm(p, conv(next(p), x, stride), stats)

    deep = network == "resnet50"
    x = jax.nn.relu(normed(x, 2 if deep else 1))
    x = max_pool(x, 3, 1) if deep else x
    for block in networks.blocks(network):
        *first, last = (stride for *_, stride in block.convolutions)
        y = x
        for stride in first:
            y = jax.nn.relu(normed(y, stride))
        y = normed(y, last)
        x = jax.nn.relu(y + (normed(x, block.stride) if block.projects else x))
    return dense(p, x.mean((1, 2)))


def forward(network: str, params: Any, x: Any) -> tuple[Any, Stats]:
    """Return the output of a network, and the statistics of its batch norms."""
    p = iter(params)
    stats: Stats = []
    match network:
        case "lenet":
            y = lenet(p, x)
        case "cnn":
            y = cnn(p, x)
        case "resnet20" | "resnet50":
            y = resnet(p, x, network, stats)
        case _:
            y = mlp(p, x, len(params) // 2)
    return y, stats


def loss(params: Any, x: Any, y: Any, case: networks.Case) -> tuple[Any, Stats]:
    """Return the mean loss of a batch, and statistics."""
    if case.bfloat16:
        params, x = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    output, stats = forward(case.network, params, x)
    output = output.astype(jnp.float32)
    if case.network == "autoencoder":
        return jnp.square(output - y).sum(1).mean(), stats
    chosen = y[:, None] == jnp.arange(output.shape[1])
    picked = jnp.where(chosen, output, 0).sum(1)  # on a CPU faster than gathering
    return (jax.nn.logsumexp(output, 1) - picked).mean(), stats


@functools.partial(jax.jit, static_argnames="case", donate_argnums=0)
def train_step(carry: Any, x: Any, y: Any, case: networks.Case) -> Any:
    """Take a step of Adam, and keep averages of the statistics."""
    params, m, v, t, averages = carry
    gradient = jax.value_and_grad(loss, has_aux=True)
    (value, stats), grads = gradient(params, x, y, case)
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    a, c = networks.RATE / (1 - 0.9**t), 1 / (1 - 0.999**t)
    params = jax.tree.map(
        lambda p, m, v: p - a * m / (jnp.sqrt(c * v) + 1e-8), params, m, v
    )
    averages = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, averages, stats)
    return (params, m, v, t, averages), value


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    params = [jnp.asarray(array) for array in networks.weights(case.network)]
    m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    stats = jax.eval_shape(lambda p: forward(case.network, p, x)[1], params)
    averages = jax.tree.map(lambda spec: jnp.zeros(spec.shape), stats)
    carry = [(params, m, v, jnp.float32(0), averages)]

    def run() -> Any:
        carry[0], value = train_step(carry[0], x, y, case)
        return value

    return program(run, lambda: train_step.lower(carry[0], x, y, case), case, work=True)
