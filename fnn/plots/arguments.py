"""Checks of arguments, made before anything is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.types import NDArray


def numbers(name: str, values: ArrayLike, *axes: str | int) -> NDArray:
    """Return real numbers as float64, or raise if they do not have these axes.

    Args:
        name: The argument's name in the error.
        values: Numbers, at least one.
        axes: For each axis its length, or a word for any length.

    Example:
        >>> numbers("x", [[1, 2]], "examples", 2)
        array([[1., 2.]])
    """
    array = np.asarray(values)
    wanted = ", ".join(map(str, axes))
    wanted = f"({wanted},)" if len(axes) == 1 else f"({wanted})"
    fits = array.ndim == len(axes) and array.size > 0
    fits = fits and all(
        isinstance(axis, str) or axis == length
        for axis, length in zip(axes, array.shape, strict=True)
    )
    if not fits or array.dtype.kind in "OUSc":
        raise ValueError(
            f"{name} must be real numbers of shape {wanted}, got {checks.describe(array)}"
        )
    return array.astype(np.float64)


def classes(name: str, values: ArrayLike) -> NDArray:
    """Return integer classes, (examples,), or raise."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be integer classes of shape (examples,), "
            f"got {checks.describe(array)}"
        )
    if array.min() < 0:
        raise ValueError(f"{name} must be classes from 0, got {checks.span(array)}")
    return array


def named(name: str, values: Mapping[str, Any]) -> None:
    """Raise unless the mapping has at least one entry."""
    if not values or not hasattr(values, "items"):
        raise ValueError(f"{name} must map at least one name to values, got {values!r}")


def names_of(names: Sequence[Any], count: int, what: str) -> list[str]:
    """Return the names as a list, or raise unless their number is `count`."""
    if len(names) != count:
        raise ValueError(f"names must be one for each of {count} {what}, got {len(names)}")
    return [str(name) for name in names]


def columns_of(table: Mapping[str, Sequence[Any]], *needed: str) -> dict[str, list[Any]]:
    """Return the columns of a table as lists of equal length."""
    named("table", table)
    for name in needed:
        checks.one_of("a column of table", name, tuple(table))
    columns = {
        name: np.asarray(column).tolist() if hasattr(column, "dtype") else list(column)
        for name, column in table.items()
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"table must have columns of equal length above 0, got {lengths}")
    return columns
