"""Dtypes of trees, norms of layers, and a check that optimizers share.

A dtype is wide if it has 32 bits at least, see `fnn.types.wide`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.squares import norms
from fnn.types import PyTree, as_dtype, wide


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
