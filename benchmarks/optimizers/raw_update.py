"""JAX by hand: each update written out for a leaf, after one factor for all of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.optimizers import B1, B2, DECAY, EPS, MAX_NORM, MOMENTUM, RATE, parse
from benchmarks.optimizers.program import leaves, program
from benchmarks.suite import Program


class Moments(NamedTuple):
    """The state of Adam."""

    step: Any
    m: Any
    v: Any


def clip_factor(grads: Any) -> Any:
    """Return what gradients are multiplied by, so that their norm is in bounds."""
    squares = sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads))
    return jnp.minimum(1.0, MAX_NORM / jnp.sqrt(squares))


def sgd(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
    """Take a step of gradient descent."""
    rate = RATE * clip_factor(grads)
    return jax.tree.map(lambda p, g: p - rate * g, params, grads), state


def momentum(params: Any, velocity: Any, grads: Any) -> tuple[Any, Any]:
    """Take a step of gradient descent with momentum."""
    factor = clip_factor(grads)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + factor * g, velocity, grads)
    return jax.tree.map(lambda p, v: p - RATE * v, params, velocity), velocity


def adam(params: Any, state: Moments, grads: Any, decay: float = 0.0) -> tuple[Any, Any]:
    """Take a step of Adam."""
    factor, step = clip_factor(grads), state.step + 1
    m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * factor * g, state.m, grads)
    v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * (factor * g) ** 2, state.v, grads)
    of_m, of_v = 1 / (1 - B1**step), 1 / (1 - B2**step)

    def leaf(p: Any, m: Any, v: Any) -> Any:
        return p - RATE * (m * of_m / (jnp.sqrt(v * of_v) + EPS) + decay * p)

    return jax.tree.map(leaf, params, m, v), Moments(step, m, v)


def adamw(params: Any, state: Moments, grads: Any) -> tuple[Any, Any]:
    """Take a step of Adam with decoupled weight decay."""
    return adam(params, state, grads, DECAY)


def build(case: str) -> Program:
    """Return the update of a case."""
    kind, count, size = parse(case)
    params, grads = leaves(count, size)
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    moments = Moments(jnp.int32(0), *zeros)
    update, state = {
        "SGD": (sgd, ()),
        "momentum": (momentum, zeros[0]),
        "Adam": (adam, moments),
        "AdamW": (adamw, moments),
    }[kind]
    return program(update, params, state, grads)
