"""JAX by hand: functions of lists of arrays, and Adam written out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.stacks.program import program, weights
from benchmarks.stacks.shapes import RATE, SHAPES
from benchmarks.suite import Program


def block(x: Any, layer: tuple[Any, Any]) -> Any:
    """Return a residual block of a batch."""
    kernel, bias = layer
    return x + jax.nn.relu(x @ kernel + bias)


def unrolled_logits(params: Any, x: Any) -> Any:
    """Apply block after block."""
    hidden, (kernel, bias) = params
    for layer in hidden:
        x = block(x, layer)
    return x @ kernel + bias


def looped_logits(params: Any, x: Any) -> Any:
    """Apply stacked blocks in a loop."""
    hidden, (kernel, bias) = params
    x, _ = lax.scan(lambda x, layer: (block(x, layer), None), x, hidden)
    return x @ kernel + bias


def convolutional_logits(params: Any, x: Any) -> Any:
    """Apply convolutions, each followed by max-pooling."""
    hidden, (kernel, bias) = params
    for window, shift in hidden:
        numbers = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, window, (1, 1), "SAME", dimension_numbers=numbers)
        x = jax.nn.relu(x + shift)
        size = (1, 2, 2, 1)
        x = lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")
    return x.reshape(len(x), -1) @ kernel + bias


def loss(logits: Callable[..., Any]) -> Callable[..., Any]:
    """Return the mean cross-entropy of a batch."""

    def mean_loss(params: Any, x: Any, y: Any) -> Any:
        z = logits(params, x)
        picked = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - picked)

    return mean_loss


def training(case: str, logits: Callable[..., Any], params: Any) -> Program:
    """Return a step of Adam."""

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        params, m, v, t = state
        value, grads = jax.value_and_grad(loss(logits))(params, x, y)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        a, c = RATE / (1 - 0.9**t), 1 / (1 - 0.999**t)
        params = jax.tree.map(
            lambda p, m, v: p - a * m / (jnp.sqrt(c * v) + 1e-8), params, m, v
        )
        return (params, m, v, t), value

    m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    return program(case, step, (params, m, v, jnp.float32(0)))


def unrolled(case: str) -> Program:
    """Return the step of a loop in Python."""
    logits = unrolled_logits if SHAPES[case].depth else convolutional_logits
    return training(case, logits, jax.tree.map(jnp.asarray, tuple(weights(case))))


def looped(case: str) -> Program:
    """Return the step of `lax.scan`."""
    hidden, head = weights(case)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hidden)
    params = jax.tree.map(jnp.asarray, (stacked, head))
    return training(case, looped_logits, params)
