"""The leaves that an optimizer acts on.

Other leaves are taken out of its trees: `None` stands in their place, which JAX, and so any
optimizer, takes for an empty tree.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.optimizers.base import frozen_mask
from fnn.tree import Pattern
from fnn.types import Array, GradientTransformation, PyTree


def with_places(params: PyTree) -> PyTree:
    """Return the tree with 0 at every leaf, also where a leaf was taken out."""
    return jax.tree.map(lambda _: 0, params, is_leaf=lambda leaf: leaf is None)


def keep(mask: PyTree, params: PyTree) -> PyTree:
    """Take out the leaves where the mask is false."""
    return jax.tree.map(lambda kept, leaf: leaf if kept else None, mask, params)


def without_frozen(optimizer: GradientTransformation, params: PyTree) -> PyTree:
    """Take out the leaves that the optimizer never moves."""
    frozen = frozen_mask(optimizer, params)
    return jax.tree.map(lambda out, leaf: None if out else leaf, frozen, params)


def with_zeros(updates: PyTree, grads: PyTree) -> PyTree:
    """Put updates of zero in the place of the leaves that were taken out."""

    def filled(update: Array | None, g: Array | None) -> Array | None:
        return update if g is None or update is not None else jnp.zeros_like(g)

    return jax.tree.map(filled, updates, grads, is_leaf=lambda leaf: leaf is None)


def extra_of_part(
    extra: Mapping[str, Any], take: Callable[[PyTree], PyTree], params: PyTree | None
) -> dict[str, Any]:
    """Return Optax's extra arguments for an optimizer that sees a part of the leaves.

    Args:
        extra: Those of the whole, see `updated`.
        take: Takes the other leaves out of a tree.
        params: The parameters of the whole; `value_fn` keeps those of other leaves.
    """
    own = dict(extra)
    if "grad" in own:
        own["grad"] = take(own["grad"])
    value_fn = own.pop("value_fn", None)
    if value_fn is not None and params is not None:
        own["value_fn"] = lambda part, *rest: value_fn(tree.merge(part, params), *rest)
    return own


def matches(params: PyTree, pattern: Pattern, owner: str) -> PyTree:
    """Return a tree of booleans, like `fnn.tree.match`.

    A glob may match a leaf that was taken out. A tree without leaves gives an empty tree.

    Raises:
        ValueError: If a glob matches no leaf.
    """
    places = with_places(params)
    if not jax.tree.leaves(places):
        return places
    try:
        return tree.match(places, pattern)
    except ValueError as error:
        error.add_note(
            f"{owner} decays what its pattern matches, on={pattern!r}; on='*' is every leaf"
        )
        raise


def as_pattern(name: str, pattern: Any) -> Pattern:
    """Return a glob or a tuple of them, or raise."""
    globs = (pattern,) if isinstance(pattern, str) else pattern
    if not isinstance(globs, tuple | list) or not globs:
        raise TypeError(f"{name} must be a glob or a tuple of globs, got {pattern!r}")
    for glob in globs:
        if not isinstance(glob, str):
            raise TypeError(f"{name} must be a glob or a tuple of globs, got {pattern!r}")
    return pattern if isinstance(pattern, str) else tuple(globs)
