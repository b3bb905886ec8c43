"""Slices of a loss through its parameters."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.tables import number, rich_table, text_table
from fnn.types import Array, Key, NDArray, PyTree

HEADER = ("", "alpha", "beta", "loss")


class LossSlice(NamedTuple):
    """The result of `loss_slice`; prints as a table of its extremes.

    Attributes:
        alphas: Lengths along the first direction, (n,).
        betas: Lengths along the second direction, (n,); a zero, (1,), without one.
        losses: (n,) along one direction, (n, n), of alphas and betas, along two.
        directions: One or two trees like the parameters.
    """

    alphas: NDArray
    betas: NDArray
    losses: NDArray
    directions: tuple[PyTree, ...]

    def __str__(self) -> str:
        return text_table(HEADER, self._rows(), numbers=3)

    def __rich__(self) -> Any:
        rows = self._rows()
        return rich_table(HEADER, rows, numbers=3, marked=[False] * len(rows), caption="")

    def _rows(self) -> list[tuple[str, ...]]:
        width = len(self.betas)
        flat = self.losses.ravel()
        places = {
            "centre": len(self.alphas) // 2 * width + width // 2,
            "lowest": int(np.nanargmin(flat)),
            "highest": int(np.nanargmax(flat)),
        }
        return [
            (
                name,
                number(float(self.alphas[i // width])),
                number(float(self.betas[i % width])),
                number(float(flat[i])),
            )
            for name, i in places.items()
        ]


def loss_slice(
    loss: Callable[..., Any],
    params: PyTree,
    *arguments: Any,
    key: Key | None = None,
    directions: Sequence[PyTree] | None = None,
    dimensions: int = 2,
    span: float = 1.0,
    points: int = 25,
    has_aux: bool = False,
) -> LossSlice:
    """Compute L(θ + α d) on a line, or L(θ + α d + β e) on a plane through θ.

    Random directions are normalized filter by filter: each filter of d, the weights of
    one output feature (the last axis of a kernel), has the length of that filter of θ, so
    that slices of different networks are comparable. Leaves with one axis, biases and the
    scales of norms, do not move.

    One compiled call computes the points one after the other, so it needs the memory of one
    loss.

    Source: Li et al. 2018, "Visualizing the loss landscape of neural nets".

    Args:
        loss: `loss(params, *arguments)`, a scalar, or `(scalar, aux)`. An
            objective of `fnn.supervised` is one: its arguments are state, batch and key.
        params: θ.
        *arguments: The loss's other arguments.
        key: A typed key, to draw random directions.
        directions: One tree or two to use instead, unchanged. The difference of two
            solutions shows the loss between them.
        dimensions: Number of random directions to draw: 1 or 2.
        span: α and β go from -span to span.
        points: Number of values of α and β; if it is odd, 0 is among them.
        has_aux: Whether the loss returns a pair.

    Returns:
        α, β, the losses and the directions. Draw it with `fnn.plots.surface`.

    Raises:
        TypeError: If neither or both of `key` and `directions` are given.
        ValueError: If the number of directions is not one or two.

    Example:
        >>> def loss(params):
        ...     return jax.numpy.sum(params["w"] ** 2)
        >>> params = {"w": jax.numpy.zeros(2)}
        >>> direction = {"w": jax.numpy.array([1.0, 0.0])}
        >>> found = fnn.diagnostics.loss_slice(
        ...     loss, params, directions=[direction], points=5
        ... )
        >>> found.losses.tolist()
        [1.0, 0.25, 0.0, 0.25, 1.0]
    """
    if (key is None) == (directions is None):
        raise TypeError("loss_slice needs a key for random directions, or directions")
    points = checks.positive_integer("points", points)
    checks.between("span", span, 0, float("inf"))
    if directions is None:
        checks.one_of("dimensions", dimensions, (1, 2))
        keys = jax.random.split(checks.typed_key(key, "loss_slice"), dimensions)
        directions = [_filter_normalized(key, params) for key in keys]
    if len(directions) not in (1, 2):
        raise ValueError(f"loss_slice needs one or two directions, got {len(directions)}")
    alphas = np.linspace(-span, span, points)
    betas = alphas if len(directions) == 2 else np.zeros(1)
    grid = np.stack(np.meshgrid(alphas, betas, indexing="ij"), -1).reshape(-1, 2)
    places = jnp.asarray(grid[:, : len(directions)], jnp.result_type(float))
    losses = _losses(loss, has_aux, params, tuple(directions), places, *arguments)
    shape = (points,) * len(directions)
    return LossSlice(alphas, betas, np.asarray(losses).reshape(shape), tuple(directions))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses(
    loss: Callable[..., Any],
    has_aux: bool,
    params: PyTree,
    directions: tuple[PyTree, ...],
    places: Array,
    *arguments: Any,
) -> Array:
    def at(lengths: Array) -> Array:
        moved = params
        for length, direction in zip(lengths, directions, strict=True):
            moved = tree.add(moved, tree.scale(length, direction))
        result = loss(moved, *arguments)
        return result[0] if has_aux else result

    return jax.lax.map(at, places)


def _filter_normalized(key: Key, params: PyTree) -> PyTree:
    """Return a random direction; each filter has the norm of the parameters' filter."""
    leaves, structure = jax.tree.flatten(params)
    stacked = jax.tree.leaves(tree.stacked_axes(params))
    keys = jax.random.split(key, len(leaves))
    directions = list(map(_normalized_leaf, keys, leaves, stacked))
    return jax.tree.unflatten(structure, directions)


def _normalized_leaf(key: Key, leaf: Array, stacked: int) -> Array:
    """Return noise in which each filter has the length of the leaf's, over (*inputs).

    The leaf is (*layers, *inputs, outputs); its first `stacked` axes are layers.
    """
    if leaf.ndim - stacked < 2:
        return jnp.zeros_like(leaf)
    noise = jax.random.normal(key, leaf.shape, leaf.dtype)
    axes = tuple(range(stacked, leaf.ndim - 1))
    lengths = [jnp.sqrt(jnp.sum(a**2, axes, keepdims=True)) for a in (leaf, noise)]
    return noise * (lengths[0] / lengths[1])
