"""Pooling: over windows, over the parts of a partition, over everything."""

import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.layers.base import Layer
from fnn.layers.windows import (
    Padding,
    PerAxis,
    Window,
    check_example,
    checked_padding,
    per_axis,
    slide,
    window_size,
)
from fnn.types import Array, Params, wide

Statistic: TypeAlias = Literal["max", "min", "mean"]


class _WindowPool(Layer):
    window: tuple[int, ...]
    stride: PerAxis | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        window = window_size("window", self.window)
        self._set(window=window, padding=checked_padding(self.padding, len(window)))
        if self.stride is not None:
            self._set(stride=per_axis("stride", self.stride, len(window)))

    def _slide(self, x: Array) -> "Window":
        """Return the window over x, or raise if x does not have its axes."""
        check_example(type(self).__name__, x, len(self.window))
        stride = self.window if self.stride is None else self.stride
        window = slide(self.window, stride, 1, self.padding, x.shape[:-1])
        positions = window.positions(x.shape[:-1])
        axes = zip(x.shape[:-1], *window, positions, strict=True)
        for n, k, s, _, (low, _), m in axes:
            if low >= k or (m - 1) * s - low >= n:
                raise ValueError(
                    f"a window of {type(self).__name__} holds padding alone: window "
                    f"{window.size}, stride {window.stride} and padding {window.margins} "
                    f"over x {checks.describe(x)}"
                )
        return window


class MaxPool(_WindowPool):
    """Take the largest element of each window: y[i, c] = maxₖ x[stride · i + k, c].

    Padding takes no part. The gradient goes to the largest element; where several are
    largest, to the first of them in row-major order. A NaN makes its windows' output NaN.

    Args:
        window: Its size, an integer for each spatial axis: `(2, 2)`.
        stride: How far the window moves, an integer or one per axis; by default its own
            size, so that windows neither overlap nor leave gaps.
        padding: As of `Conv`: `"valid"`, `"same"`, `"causal"`, an integer, or a
            (low, high) pair per axis.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If an argument is none of these, if x does not have the axes that it
            should have, is smaller than the window, or a window holds padding alone.

    Example:
        >>> x = jax.numpy.array([1.0, 3.0, 2.0, 5.0, 4.0])[:, None]
        >>> fnn.MaxPool((2,))({}, x)[:, 0]
        Array([3., 5.], dtype=float32)
        >>> fnn.MaxPool((3,), stride=1)({}, x)[:, 0]
        Array([3., 5., 5.], dtype=float32)
    """

    def forward(self, params: Params, x: Array) -> Array:
        return _fold(_larger, self._slide(x), x, -jnp.inf)


class MinPool(_WindowPool):
    """Take the smallest element of each window: y[i, c] = minₖ x[stride · i + k, c].

    It is -MaxPool(-x): padding, ties and NaN are dealt with as there.

    Args:
        window: Its size, an integer for each spatial axis: `(2, 2)`.
        stride: How far the window moves; by default its own size.
        padding: As of `MaxPool`.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: As of `MaxPool`.

    Example:
        >>> x = jax.numpy.array([1.0, 3.0, 2.0, 5.0, 4.0])[:, None]
        >>> fnn.MinPool((2,))({}, x)[:, 0]
        Array([1., 2.], dtype=float32)
    """

    def forward(self, params: Params, x: Array) -> Array:
        return _fold(_smaller, self._slide(x), x, jnp.inf)


class AvgPool(_WindowPool):
    """Take the mean of each window: y[i, c] = 1/|window| Σₖ x[stride · i + k, c].

    Padding counts nowhere: a window that reaches beyond x is averaged over the elements
    of x that it holds.

    Args:
        window: Its size, an integer for each spatial axis: `(2, 2)`.
        stride: How far the window moves; by default its own size.
        padding: As of `MaxPool`.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: As of `MaxPool`.

    Example:
        >>> x = jax.numpy.array([1.0, 3.0, 2.0, 5.0, 4.0])[:, None]
        >>> fnn.AvgPool((2,))({}, x)[:, 0]
        Array([2. , 3.5], dtype=float32)
        >>> fnn.AvgPool((2,), padding="same")({}, x)[:, 0]
        Array([2. , 3.5, 4. ], dtype=float32)
    """

    def forward(self, params: Params, x: Array) -> Array:
        window, z = self._slide(x), x.astype(wide(x.dtype))
        ones = jnp.ones((*x.shape[:-1], 1), z.dtype)
        total, count = (_sum(window, a) for a in (z, ones))
        return (total / count).astype(x.dtype)


class GlobalPool(Layer):
    """Pool each channel over all spatial axes: (spatial..., channels) to (channels,).

    Args:
        statistic: `"max"`, `"min"` or `"mean"`. The gradient of an extremum goes to the
            first element that attains it, in row-major order.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the statistic is none of these, or x is empty or has no spatial axis.

    Example:
        >>> fnn.GlobalPool("mean")({}, jax.numpy.ones((7, 7, 64))).shape
        (64,)
    """

    statistic: Statistic

    def __post_init__(self) -> None:
        checks.one_of("statistic", self.statistic, tuple(_REDUCE))

    def forward(self, params: Params, x: Array) -> Array:
        checks.floating("GlobalPool", x)
        if x.ndim < 2 or 0 in x.shape:
            raise ValueError(
                f"GlobalPool takes x of shape (spatial..., channels), with an element at "
                f"least; got {checks.describe(x)}"
            )
        return _REDUCE[self.statistic](x.reshape(-1, x.shape[-1]), 0)


class PartitionPool(Layer):
    """Pool over the parts of any partition of the elements: yⱼ = max {xᵢ : i in part j}.

    Elements are counted from 0, in the row-major order in which `Flatten` arranges them.

    Args:
        parts: The indices of the elements of each part: `((0, 1, 2), (3, 4))`. Every
            element is in one part.
        statistic: `"max"`, `"min"` or `"mean"`. The gradient of an extremum goes to the
            element that attains it; of several, to that which the part names first.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the parts are no partition, or not one of the elements of x, or the
            statistic is none of these.

    Example:
        >>> pool = fnn.PartitionPool(((0, 1, 2), (3, 4)), "max")
        >>> pool({}, jax.numpy.array([2.0, 4.0, 3.0, 7.0, 6.0]))
        Array([4., 7.], dtype=float32)
    """

    parts: tuple[tuple[int, ...], ...]
    statistic: Statistic

    def __post_init__(self) -> None:
        checks.one_of("statistic", self.statistic, tuple(_REDUCE))
        try:
            parts = tuple(tuple(map(operator.index, part)) for part in self.parts)
        except TypeError:
            raise ValueError(
                f"parts must be tuples of indices, got {self.parts!r}"
            ) from None
        indices = sorted(itertools.chain(*parts))
        if not parts or () in parts or indices != list(range(len(indices))):
            raise ValueError(
                f"parts must hold every index from 0 on in just one part, and none may be "
                f"empty; got {parts}"
            )
        self._set(parts=parts)

    def forward(self, params: Params, x: Array) -> Array:
        checks.floating("PartitionPool", x)
        size = sum(map(len, self.parts))
        if x.size != size:
            raise ValueError(
                f"PartitionPool has parts of {size} elements in all, got x "
                f"{checks.describe(x)}"
            )
        # Parts of one length make an array; `order` is where each of them belongs.
        x, pooled, order = jnp.ravel(x), [], []
        for length in sorted(set(map(len, self.parts))):
            alike = [j for j, part in enumerate(self.parts) if len(part) == length]
            indices = np.array([self.parts[j] for j in alike], np.int32)
            pooled.append(_REDUCE[self.statistic](x[indices], 1))
            order += alike
        return jnp.concatenate(pooled)[np.argsort(order)]


def _fold(
    combine: Callable[[Array, Array], Array], window: Window, x: Array, fill: float
) -> Array:
    """Combine the elements of each window, along one axis after the other.

    The last axis comes first, so that of equal elements the first in row-major order is
    the left argument of `combine`. It mostly trains faster than `reduce_window`.
    """
    for axis in reversed(range(len(window.size))):
        x = functools.reduce(combine, window.along(axis).shifts(x, fill))
    return x


def _sum(window: Window, x: Array) -> Array:
    """Return the sum of each window, by what trains fastest, by `benchmarks`."""
    if window.stride != window.size or math.prod(window.size) > 4:
        return _fold(operator.add, window, x, 0.0)
    size, margins = (*window.size, 1), (*window.margins, (0, 0))
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, size, size, margins)


def _larger(a: Array, b: Array) -> Array:
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def _smaller(a: Array, b: Array) -> Array:
    return jnp.where((a <= b) | jnp.isnan(a), a, b)


def _at(argument: Callable[..., Array], x: Array, axis: int) -> Array:
    index = argument(x, axis, jnp.int32)
    return jnp.take_along_axis(x, jnp.expand_dims(index, axis), axis).squeeze(axis)


_REDUCE: dict[str, Callable[[Array, int], Array]] = {
    "max": functools.partial(_at, jax.lax.argmax),
    "min": functools.partial(_at, jax.lax.argmin),
    "mean": jnp.mean,
}
