"""Checks of the arguments and inputs of layers that slide a window over an example."""

from typing import Any, Literal, TypeAlias

import numpy as np

from fnn import checks
from fnn.types import Array, Shape

PerAxis: TypeAlias = int | tuple[int, ...]
"""One integer for all spatial axes, or one for each."""
Padding: TypeAlias = Literal["valid", "same", "causal"] | int | tuple[tuple[int, int], ...]
"""A rule, one integer for all sides, or a (low, high) pair for each spatial axis."""

AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}


def window_size(name: str, value: Any) -> Shape:
    """Return the size of a window of one to three axes as a tuple."""
    if not isinstance(value, tuple | list) or len(value) not in AXES:
        raise ValueError(
            f"{name} must be a tuple of 1, 2 or 3 positive integers, one for each spatial "
            f"axis, such as (3,) or (3, 3); got {value!r}"
        )
    return tuple(checks.positive_integer(f"each element of {name}", k) for k in value)


def per_axis(name: str, value: Any, axes: int, least: int = 1) -> PerAxis:
    """Return `value`, an integer or one per axis, or raise if one is below `least`."""
    values = value if isinstance(value, tuple | list) else [value] * axes
    if len(values) != axes or not all(_is_integer(v) and v >= least for v in values):
        raise ValueError(
            f"{name} must be an integer from {least} on, or a tuple of one for each of the "
            f"{axes} spatial axes, got {value!r}"
        )
    return tuple(map(int, value)) if isinstance(value, tuple | list) else int(value)


def one_per_axis(value: PerAxis, axes: int) -> Shape:
    """Return one integer per axis."""
    return value if isinstance(value, tuple) else (value,) * axes


def checked_padding(padding: Any, axes: int) -> Padding:
    """Return the padding, with its pairs as tuples, or raise if it is invalid."""
    if padding in ("valid", "same", "causal"):
        if padding == "causal" and axes > 1:
            raise ValueError(f"padding 'causal' is for one axis, the window has {axes}")
        return padding
    if _is_integer(padding) and padding >= 0:
        return int(padding)
    if isinstance(padding, tuple | list) and len(padding) == axes:
        pairs = [p for p in padding if isinstance(p, tuple | list) and len(p) == 2]
        if len(pairs) == axes and all(_is_integer(p) and p >= 0 for q in pairs for p in q):
            return tuple((int(low), int(high)) for low, high in pairs)
    raise ValueError(
        f"padding must be 'valid', 'same', 'causal' (for one axis), an integer from 0 on, "
        f"or a (low, high) pair for each of the {axes} spatial axes, got {padding!r}"
    )


def check_example(owner: str, x: Array, axes: int) -> None:
    """Raise unless x is one floating-point example with `axes` spatial axes."""
    checks.floating(owner, x)
    if len(x.shape) == axes + 1:
        return
    message = (
        f"{owner} takes one example of shape ({AXES[axes]}, channels), "
        f"got {checks.describe(x)}"
    )
    if len(x.shape) == axes + 2:
        message += (
            f"; if x is a batch of {x.shape[0]} examples, use fnn.batched(model), which "
            f"applies a model to each of them"
        )
    if len(x.shape) == axes:
        message += "; if it has no channels, give it one: x[..., None]"
    raise ValueError(message)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
