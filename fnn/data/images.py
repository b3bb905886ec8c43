"""Operations on images, (height, width, ...), for augmentation."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array, Key, Shape

Size: TypeAlias = Any
"""An integer, or (height, width)."""


def pair(name: str, value: Size, low: int) -> tuple[int, int]:
    """Return (height, width), both of which must be integers of at least `low`."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    integers = all(isinstance(n, int | np.integer) for n in both)
    if len(both) != 2 or not integers or bool in map(type, both) or min(both) < low:
        raise ValueError(
            f"{name} must be an integer of at least {low}, or a pair of them for height "
            f"and width, got {value!r}"
        )
    return int(both[0]), int(both[1])


def check_image(owner: str, x: Any) -> None:
    """Raise unless x can be an image."""
    if jnp.ndim(x) < 2 or 0 in jnp.shape(x):
        raise ValueError(
            f"{owner} takes an image, (height, width, ...), got {checks.describe(x)}"
        )


def padded(x: Array, padding: tuple[int, int]) -> Array:
    """Return x with zeros at top and bottom, and at left and right."""
    rows, columns = padding
    return jnp.pad(x, [(rows, rows), (columns, columns)] + [(0, 0)] * (x.ndim - 2))


def random_window(key: Key, x: Array, size: Shape) -> Array:
    """Return a random part of x of this size; all such parts are equally likely."""
    places = jnp.array([x.shape[0] - size[0] + 1, x.shape[1] - size[1] + 1], jnp.int32)
    top, left = jax.random.randint(key, (2,), 0, places, jnp.int32)
    rows = jax.lax.dynamic_slice_in_dim(x, top, size[0], axis=0)
    return jax.lax.dynamic_slice_in_dim(rows, left, size[1], axis=1)


def random_box(key: Key, x: Array, height: Any, width: Any) -> Array:
    """Return a mask of a box around a random pixel, (height of x, width of x, 1, ...)."""
    shape = jnp.array(x.shape[:2], jnp.int32)
    centre = jax.random.randint(key, (2,), 0, shape, jnp.int32)

    def inside(axis: int, length: Any) -> Array:
        offset = jnp.arange(x.shape[axis], dtype=jnp.int32) - centre[axis] + length // 2
        return (offset >= 0) & (offset < length)

    box = inside(0, height)[:, None] & inside(1, width)[None, :]
    return jnp.expand_dims(box, tuple(range(2, x.ndim)))


def rotated(x: Array, angle: Array) -> Array:
    """Return x turned counter-clockwise about its centre by an angle in radians.

    The pixel at (row, column) gets the image's value, interpolated bilinearly, at

        row' = cos θ row + sin θ column,  column' = cos θ column - sin θ row,

    all measured from the centre.
    """
    height, width = x.shape[:2]
    middle = (height - 1) / 2, (width - 1) / 2
    row = (jnp.arange(height, dtype=angle.dtype) - middle[0])[:, None]
    column = (jnp.arange(width, dtype=angle.dtype) - middle[1])[None, :]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _bilinear(
        x, cos * row + sin * column + middle[0], cos * column - sin * row + middle[1]
    )


def _bilinear(x: Array, row: Array, column: Array) -> Array:
    """Return x at positions between its pixels; outside the image it is zero."""

    def corner(i: Array, j: Array) -> Array:
        weight = (1 - jnp.abs(row - i)) * (1 - jnp.abs(column - j))
        inside = (i >= 0) & (i < x.shape[0]) & (j >= 0) & (j < x.shape[1])
        weight = jnp.where(inside, weight, jnp.zeros_like(weight))
        pixel = x[
            jnp.clip(i, 0, x.shape[0] - 1).astype(jnp.int32),
            jnp.clip(j, 0, x.shape[1] - 1).astype(jnp.int32),
        ]
        return jnp.expand_dims(weight, tuple(range(2, x.ndim))) * pixel.astype(weight.dtype)

    top, left = jnp.floor(row), jnp.floor(column)
    corners = corner(top, left) + corner(top, left + 1)
    corners += corner(top + 1, left) + corner(top + 1, left + 1)
    return corners.astype(x.dtype)
