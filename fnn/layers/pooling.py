"""Pooling over windows, over the parts of a partition, and over all positions."""

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
from fnn.layers.convolving.arguments import (
    Padding,
    PerAxis,
    check_example,
    checked_padding,
    per_axis,
    window_size,
)
from fnn.layers.convolving.windows import Window, slide
from fnn.types import Array, Params, wide

Statistic: TypeAlias = Literal["max", "min", "mean"]

# Windows that tile x are summed by XLA's own reduction up to this many elements: those of
# the 2x2 mean pool of `benchmarks convolution`, where it takes 3 ms.
LARGEST_TILE = 4


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
                    f"{window.size}, stride {window.stride} and padding {window.padding} "
                    f"over x {checks.describe(x)}"
                )
        return window


class MaxPool(_WindowPool):
    """Take the largest element of each window: y[i, c] = maxₖ x[stride · i + k, c].

    Padding is ignored. The gradient goes to the largest element, and in a tie to the first
    in row-major order. The output of a window that holds a NaN is NaN.

    Args:
        window: The window's size, an integer for each spatial axis: `(2, 2)`.
        stride: How far the window moves, an integer or one per axis; by default its own
            size, so that windows neither overlap nor leave gaps.
        padding: As for `Conv`: `"valid"`, `"same"`, `"causal"`, an integer, or a
            (low, high) pair per axis.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If an argument is invalid, if x does not have the axes that it should
            have or is smaller than the window, or if a window holds padding alone.

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

    It is -MaxPool(-x), and treats padding, ties and NaN as `MaxPool` does.

    Args:
        window: The window's size, an integer for each spatial axis: `(2, 2)`.
        stride: How far the window moves; by default its own size.
        padding: As for `MaxPool`.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: As for `MaxPool`.

    Example:
        >>> x = jax.numpy.array([1.0, 3.0, 2.0, 5.0, 4.0])[:, None]
        >>> fnn.MinPool((2,))({}, x)[:, 0]
        Array([1., 2.], dtype=float32)
    """

    def forward(self, params: Params, x: Array) -> Array:
        return _fold(_smaller, self._slide(x), x, jnp.inf)


class AvgPool(_WindowPool):
    """Take the mean of each window: y[i, c] = 1/|window| Σₖ x[stride · i + k, c].

    Padding is not counted: a window that reaches beyond x is averaged over the elements of
    x that it holds.

    Args:
        window: The window's size, an integer for each spatial axis: `(2, 2)`.
        stride: How far the window moves; by default its own size.
        padding: As for `MaxPool`.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: As for `MaxPool`.

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
        ValueError: If the statistic is invalid, or x is empty or has no spatial axis.

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
            element that attains it, and in a tie to the one that the part names first.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the parts are not a partition of the elements of x, or the statistic
            is invalid.

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
        # Parts of one length are pooled as one array, (parts, length); `order` says where
        # the results of all lengths, concatenated, belong in the output.
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

    The last axis comes first. So in a tie the left argument of `combine` is the first in
    row-major order. This mostly trains faster than `reduce_window` (`benchmarks
    convolution`, 2x2 and 3x3 max pools: 5 times).
    """
    for axis in reversed(range(len(window.size))):
        x = functools.reduce(combine, window.along(axis).shifts(x, fill))
    return x


def _sum(window: Window, x: Array) -> Array:
    """Return the sum of each window, in the form that trains fastest."""
    if window.stride != window.size or math.prod(window.size) > LARGEST_TILE:
        return _fold(operator.add, window, x, 0.0)
    size, padding = (*window.size, 1), (*window.padding, (0, 0))
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, size, size, padding)


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
