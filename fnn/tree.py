"""Arithmetic on pytrees of arrays, and selection of their leaves by path.

A path is the names on the way to a leaf, joined by slashes: `"dense_0/kernel"`. A
pattern is a shell glob on the whole path, in which `*` also matches slashes, or
several of them: `"dense_*/kernel"`, `("*bias", "norm_*")`.
"""

import fnmatch
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn.lazy import explain_missing as _explain_missing
from fnn.squares import norms
from fnn.types import Array, PyTree, as_dtype, as_number, wide

Pattern: TypeAlias = str | tuple[str, ...]

STACK = "stack"
"""The name under which a layer holds the parameters of many copies, stacked."""


def add(a: PyTree, b: PyTree) -> PyTree:
    """Return a + b, leaf by leaf; a `fnn.metrics.WeightedMean` is added as a whole.

    Example:
        >>> add({"w": 1.0}, {"w": 2.0})
        {'w': 3.0}
    """
    return jax.tree.map(operator.add, a, b, is_leaf=_adds_as_a_whole)


def subtract(a: PyTree, b: PyTree) -> PyTree:
    """Return a - b, leaf by leaf.

    Example:
        >>> subtract({"w": 1.0}, {"w": 2.0})
        {'w': -1.0}
    """
    return jax.tree.map(operator.sub, a, b)


def scale(factor: Array | float, tree: PyTree) -> PyTree:
    """Return factor * tree; the leaves keep their dtypes.

    Example:
        >>> scale(2, {"w": jax.numpy.ones(2)})
        {'w': Array([2., 2.], dtype=float32)}
    """
    return jax.tree.map(
        lambda leaf: jnp.multiply(as_number(factor, leaf.dtype), leaf), tree
    )


def zeros_like(tree: PyTree) -> PyTree:
    """Return zeros of the shapes and dtypes of `tree`, each leaf a separate array.

    Example:
        >>> zeros_like({"w": jax.ShapeDtypeStruct((2,), "float32")})
        {'w': Array([0., 0.], dtype=float32)}
    """
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Return `tree` with its floating-point leaves converted to `dtype`.

    Example:
        >>> cast({"w": jax.numpy.ones(1), "n": jax.numpy.arange(1)}, "bfloat16")
        {'n': Array([0], dtype=int32), 'w': Array([1], dtype=bfloat16)}
    """

    def convert(leaf: Array) -> Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree.map(convert, tree)


def where(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """Return `a` where the scalar `condition` holds, else `b`, leaf by leaf.

    Example:
        >>> where(True, {"w": jax.numpy.ones(1)}, {"w": jax.numpy.zeros(1)})
        {'w': Array([1.], dtype=float32)}
    """
    return jax.tree.map(functools.partial(jnp.where, condition), a, b)


def dot(a: PyTree, b: PyTree) -> Array:
    """Return the inner product ⟨a, b⟩ = Σ aᵢ bᵢ over all elements of all leaves, ().

    Leaves of less than 32 bits are converted to float32 first.

    Example:
        >>> dot({"w": jax.numpy.ones(3)}, {"w": jax.numpy.ones(3)})
        Array(3., dtype=float32)
    """

    def leaf_dot(x: Array, y: Array) -> Array:
        return jnp.sum(as_dtype(x, wide(x.dtype)) * as_dtype(y, wide(y.dtype)))

    products = jax.tree.leaves(jax.tree.map(leaf_dot, a, b))
    return functools.reduce(operator.add, products) if products else jnp.float32(0)


def norm(tree: PyTree) -> Array:
    """Return the Euclidean norm ‖tree‖ = √Σ xᵢ² over all elements of all leaves, ().

    It is right even if squares overflow, as long as the norm does not: the norm of 3e20 and
    4e20 is 5e20 in float32. Its derivative at 0 is 0.

    Example:
        >>> norm({"a": jax.numpy.array([3.0]), "b": jax.numpy.array([4.0])})
        Array(5., dtype=float32)
    """
    leaves = [_as_real(leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:
        return jnp.float32(0)
    dtype = max((leaf.dtype for leaf in leaves), key=lambda dtype: dtype.itemsize)
    return norms([[as_dtype(leaf, dtype) for leaf in leaves]], (0,))[0]


def stacked_axes(tree: PyTree) -> PyTree:
    """Return a tree of integers: the number of leading axes of each leaf over layers.

    `fnn.Repeat` holds the parameters of its copies under the name `stack`, with a leading
    axis over the copies. So a leaf has one such axis for each `stack` among the names
    above it, if all leaves under that name have a first axis of one length; others, such
    as the kernel (3, 4) and the bias (4,) of a layer that a user named `stack`, are not a
    stack. An operation on a layer's weights as a whole acts on each layer of a stack.

    Example:
        >>> kernel = jax.numpy.ones((9, 4, 4))
        >>> stacked_axes({"repeat_0": {"stack": {"kernel": kernel}}, "bias": kernel[0]})
        {'bias': 0, 'repeat_0': {'stack': {'kernel': 1}}}
    """
    leaves, structure = jax.tree.flatten_with_path(tree)
    counts = [0] * len(leaves)
    under: dict[Any, list[int]] = {}
    for i, (path, _) in enumerate(leaves):
        for depth, entry in enumerate(path[:-1]):
            if _join((entry,)) == STACK:
                under.setdefault(path[: depth + 1], []).append(i)
    for stack in sorted(under, key=len):  # the outer ones first
        members = under[stack]
        # The length of the next axis, or an empty tuple without one.
        lengths = {leaves[i][1].shape[counts[i] :][:1] for i in members}
        if len(lengths) == 1 and () not in lengths:
            for i in members:
                counts[i] += 1
    return jax.tree.unflatten(structure, counts)


def size(tree: PyTree) -> int:
    """Return the number of elements of all leaves.

    Example:
        >>> size({"kernel": jax.numpy.ones((3, 2)), "bias": jax.numpy.ones(2)})
        8
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def nbytes(tree: PyTree) -> int:
    """Return the number of bytes of all leaves' elements.

    Example:
        >>> nbytes({"kernel": jax.numpy.ones((3, 2)), "bias": jax.numpy.ones(2)})
        32
    """
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def all_finite(tree: PyTree) -> Array:
    """Return whether all leaves are free of NaN and infinity, ().

    Example:
        >>> all_finite({"w": jax.numpy.array([1.0, jax.numpy.nan])})
        Array(False, dtype=bool)
    """
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.logical_and, finite, jnp.bool_(True))


def map_with_path(function: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
    """Return the tree of `function(path, leaf, *leaves_of_rest)`.

    Example:
        >>> map_with_path(lambda path, leaf: path, {"dense_0": {"bias": 0.0}})
        {'dense_0': {'bias': 'dense_0/bias'}}
    """
    return jax.tree.map_with_path(
        lambda path, *leaves: function(_join(path), *leaves), tree, *rest
    )


def flatten(tree: PyTree) -> dict[str, Any]:
    """Return the leaves by path.

    Example:
        >>> flatten({"dense_0": {"bias": 1.0, "kernel": 2.0}})
        {'dense_0/bias': 1.0, 'dense_0/kernel': 2.0}
    """
    return {_join(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def match(tree: PyTree, pattern: Pattern) -> PyTree:
    """Return a tree of booleans: whether the leaf's path matches `pattern`.

    Args:
        tree: Any pytree.
        pattern: A glob on the whole path, or a tuple of globs, any of which may match.

    Raises:
        ValueError: If a glob matches no leaf, which is nearly always a misspelling.

    Example:
        >>> match({"dense_0": {"bias": 1.0, "kernel": 2.0}}, "dense_*/kernel")
        {'dense_0': {'bias': False, 'kernel': True}}
    """
    globs = (pattern,) if isinstance(pattern, str) else pattern
    paths = list(flatten(tree))
    for glob in globs:
        if not any(fnmatch.fnmatchcase(path, glob) for path in paths):
            from fnn.suggestions import hint_on_paths

            raise ValueError(f"no leaf matches {glob!r}{hint_on_paths(glob, paths)}")
    return map_with_path(
        lambda path, _: any(fnmatch.fnmatchcase(path, glob) for glob in globs), tree
    )


def partition(tree: PyTree, pattern: Pattern) -> tuple[PyTree, PyTree]:
    """Split a tree into the leaves whose paths match `pattern`, and the others.

    Both parts have the containers of `tree`. Leaves of the other part are `None`, which JAX
    treats as an empty tree. `merge` undoes it.

    Raises:
        ValueError: If a glob matches no leaf.

    Example:
        >>> partition({"body": 1.0, "head": 2.0}, "head")
        ({'body': None, 'head': 2.0}, {'body': 1.0, 'head': None})
    """
    mask = match(tree, pattern)
    chosen = jax.tree.map(lambda m, leaf: leaf if m else None, mask, tree)
    others = jax.tree.map(lambda m, leaf: None if m else leaf, mask, tree)
    return chosen, others


def merge(a: PyTree, b: PyTree) -> PyTree:
    """Merge the two parts of `partition`.

    Example:
        >>> merge(*partition({"body": 1.0, "head": 2.0}, "head"))
        {'body': 1.0, 'head': 2.0}
    """
    return jax.tree.map(
        lambda x, y: y if x is None else x, a, b, is_leaf=lambda leaf: leaf is None
    )


def _adds_as_a_whole(node: Any) -> bool:
    """Return whether a named tuple defines its own addition."""
    return isinstance(node, tuple) and type(node).__add__ is not tuple.__add__


def _join(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _as_real(leaf: Any) -> Array:
    """Return an array of floats of at least 32 bits, with the magnitudes of `leaf`."""
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return jnp.abs(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf.astype(float)
    return as_dtype(leaf, wide(leaf.dtype))


_explain_missing(__name__)
