"""Rearrangements of an array's elements, which keep its norm and can be undone.

Undoing is also the adjoint: ⟨apply(x), v⟩ = ⟨x, undo(v)⟩. Shapes and axes are those of one
example; `lead` counts axes in front of them, such as an axis of examples.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from fnn.types import Array


@dataclasses.dataclass(frozen=True)
class Permute:
    """Output axis k is axis `axes[k]` of the input."""

    axes: tuple[int, ...]

    def apply(self, x: Array, lead: int) -> Array:
        """Rearrange an array that has `lead` axes in front."""
        return _transpose(x, self.axes, lead)

    def undo(self, x: Array, lead: int) -> Array:
        """Put the elements back."""
        return _transpose(x, inverse(self.axes), lead)

    def lifted(self, length: int) -> "Permute":
        """Return the view of an array with a new axis in front, left where it is."""
        return Permute((0, *(axis + 1 for axis in self.axes)))


@dataclasses.dataclass(frozen=True)
class Reshape:
    """From the shape `before` to the shape `after`, in row-major order."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def apply(self, x: Array, lead: int) -> Array:
        """Rearrange an array that has `lead` axes in front."""
        return x.reshape(*x.shape[:lead], *self.after)

    def undo(self, x: Array, lead: int) -> Array:
        """Put the elements back."""
        return x.reshape(*x.shape[:lead], *self.before)

    def lifted(self, length: int) -> "Reshape":
        """Return the view of an array with a new axis in front, left where it is."""
        return Reshape((length, *self.before), (length, *self.after))


@dataclasses.dataclass(frozen=True)
class Reverse:
    """Count backwards along some axes."""

    axes: tuple[int, ...]

    def apply(self, x: Array, lead: int) -> Array:
        """Rearrange an array that has `lead` axes in front."""
        backwards = [
            slice(None, None, -1 if axis - lead in self.axes else 1)
            for axis in range(x.ndim)
        ]
        return x[tuple(backwards)]

    undo = apply

    def lifted(self, length: int) -> "Reverse":
        """Return the view of an array with a new axis in front, left where it is."""
        return Reverse(tuple(axis + 1 for axis in self.axes))


@dataclasses.dataclass(frozen=True)
class Place:
    """Put the array into zeros, with `low` and `high` of them around it on each axis."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    def apply(self, x: Array, lead: int) -> Array:
        """Surround an array that has `lead` axes in front."""
        return jnp.pad(x, [(0, 0)] * lead + list(zip(self.low, self.high, strict=True)))

    def undo(self, x: Array, lead: int) -> Array:
        """Take the array out again."""
        inside = [
            slice(low, size - high)
            for low, high, size in zip(self.low, self.high, x.shape[lead:], strict=True)
        ]
        return x[(..., *inside)]

    def lifted(self, length: int) -> "Place":
        """Return the view of an array with a new axis in front, left where it is."""
        return Place((0, *self.low), (0, *self.high))

    def apart(self, other: "Place", shape: Sequence[int]) -> bool:
        """Return whether two arrays are put where they don't overlap."""
        return any(
            size - high <= other_low or size - other_high <= low
            for low, high, other_low, other_high, size in zip(
                self.low, self.high, other.low, other.high, shape, strict=True
            )
        )


View: TypeAlias = Permute | Reshape | Reverse | Place


def apply(views: Sequence[View], x: Array, lead: int = 0) -> Array:
    """Apply views in order, the first one first, to an array with `lead` axes in front."""
    for view in views:
        x = view.apply(x, lead)
    return x


def undo(views: Sequence[View], x: Array, lead: int = 0) -> Array:
    """Undo what `apply` does."""
    for view in reversed(views):
        x = view.undo(x, lead)
    return x


def permutation(views: Sequence[View], ndim: int) -> tuple[int, ...] | None:
    """Return the input axis of each output axis; None if a view does more than permute."""
    axes = tuple(range(ndim))
    for view in views:
        if not isinstance(view, Permute):
            return None
        axes = tuple(axes[k] for k in view.axes)
    return axes


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that undoes one: (1, 2, 0) for (2, 0, 1)."""
    return tuple(int(k) for k in np.argsort(axes))


def _transpose(x: Array, axes: tuple[int, ...], lead: int) -> Array:
    moved = (*range(lead), *(axis + lead for axis in axes))
    return x if moved == tuple(range(x.ndim)) else x.transpose(moved)
