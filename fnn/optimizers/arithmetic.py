"""What the optimizers' formulas share.

Statistics are held, and updates computed, in `fnn.types.wide` dtypes: float32 for
parameters of 16 bits, in which ε would be 0 and a slow average could not move. The updates
themselves have the dtypes of the gradients.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import LearningRate
from fnn.schedules.base import rate_at
from fnn.squares import norms
from fnn.types import Array, PyTree, as_dtype, as_number, wide


def start(learning_rate: LearningRate) -> tuple[Array, Array]:
    """Return the number of steps before the first, 0, and its rate."""
    step = jnp.zeros((), jnp.int32)
    return step, rate_at(learning_rate, step)


def advance(learning_rate: LearningRate, step: Array) -> tuple[Array, Array]:
    """Return the number of steps, this one included, and the rate of this one."""
    return step + 1, rate_at(learning_rate, step)


def wide_zeros(params: PyTree) -> PyTree:
    """Return zeros like `params` in wide dtypes, each leaf an array of its own."""
    return jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params)


def wide_copy(params: PyTree) -> PyTree:
    """Return the values of `params` in wide dtypes, each leaf an array of its own."""
    return jax.tree.map(lambda p: jnp.array(p, wide(p.dtype)), params)


def widen(leaves: PyTree) -> PyTree:
    """Convert to wide dtypes."""
    return jax.tree.map(lambda leaf: as_dtype(leaf, wide(leaf.dtype)), leaves)


def narrow(updates: PyTree, grads: PyTree) -> PyTree:
    """Convert back to the dtypes of the gradients."""
    return jax.tree.map(lambda u, g: as_dtype(u, g.dtype), updates, grads)


def moving_average(decay: float, average: PyTree, new: PyTree) -> PyTree:
    """Return decay · average + (1 - decay) · new."""

    def of_leaf(a: Array, n: Array) -> Array:
        return _average(as_number(decay, a.dtype), as_number(1 - decay, a.dtype), a, n)

    return jax.tree.map(of_leaf, average, new)


# Traced once for all leaves that are alike, as what else is done with each.
@functools.partial(jax.jit, inline=True)
def _average(decay: Array, rest: Array, average: Array, new: Array) -> Array:
    return decay * average + rest * new


def bias_correction(decay: float | Array, step: Array) -> Array:
    """Return 1 - decayᵗ: what share of a moving average's weight is on data by step t."""
    t = step.astype(jnp.result_type(float))
    # By way of the logarithm, because 1 - decay would have lost digits to float32.
    if isinstance(decay, float) and decay > 0:
        log = jnp.asarray(math.log(decay), t.dtype)
    else:
        log = jnp.log(jnp.asarray(decay, t.dtype))
    return -jnp.expm1(t * log)


@jax.custom_jvp
def root(x: PyTree) -> PyTree:
    """Return √x, whose derivative at 0 is 0 here: updates can be differentiated."""
    # One operation that XLA deems dear: of a norm, whose sum over all leaves it would
    # otherwise compute again wherever the norm is used, so once for each leaf.
    return jax.tree.map(jnp.sqrt, x)


@root.defjvp
def _root_jvp(primals: tuple[PyTree], tangents: tuple[PyTree]) -> tuple[PyTree, PyTree]:
    def derivative(y: Array, t: Array) -> Array:
        positive = y > 0
        return jnp.where(positive, t / (2 * jnp.where(positive, y, 1)), 0)

    y = root(*primals)
    return y, jax.tree.map(derivative, y, *tangents)


def layer_norms(leaves: PyTree) -> PyTree:
    """Return the norm of each leaf, or of each layer of a leaf that is a stack of them.

    The derivative at 0 is 0. The norm of a leaf of shape (*layers, ...) is (*layers,).
    """
    flat, structure = jax.tree.flatten(widen(leaves))
    axes = tuple(jax.tree.leaves(tree.stacked_axes(leaves)))
    return jax.tree.unflatten(structure, norms([[leaf] for leaf in flat], axes))


def check_decay(name: str, decay: Any) -> None:
    """Raise unless 0 <= decay < 1: with 1 a moving average would never move."""
    checks.between(name, decay, 0, 1)
    if not isinstance(decay, jax.Array) and decay == 1:
        raise ValueError(f"{name} must be below 1, got {decay!r}")
