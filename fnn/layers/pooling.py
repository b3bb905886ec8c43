"""Pooling: over windows, over the parts of a partition, over everything.

A window slides over the spatial axes of an example, (spatial..., channels). Where it
stands, and what lies under it, is also what a convolution asks.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.layers.base import Layer
from fnn.types import Array, Params, Shape, wide

PerAxis: TypeAlias = int | tuple[int, ...]
"""One integer for all spatial axes, or one for each."""
Padding: TypeAlias = Literal["valid", "same", "causal"] | int | tuple[tuple[int, int], ...]
"""A rule, one integer for all sides, or a (low, high) pair for each spatial axis."""
Statistic: TypeAlias = Literal["max", "min", "mean"]

AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}


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
        total, count = (_fold(operator.add, window, a, 0.0) for a in (z, ones))
        return (total / count).astype(x.dtype)


class GlobalPool(Layer):
    """Pool each channel over all spatial axes: (spatial..., channels) to (channels,).

    Args:
        statistic: `"max"`, `"min"` or `"mean"`. The gradient of an extremum goes to the
            first element that attains it, in row-major order.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the statistic is none of these, or x has no spatial axis, or is empty.

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


class Window(NamedTuple):
    """A window, and how it slides along each spatial axis of an array."""

    size: Shape
    stride: Shape
    dilation: Shape
    margins: tuple[tuple[int, int], ...]  # how many elements are added at either end

    def positions(self, spatial: Shape) -> Shape:
        """Return how many positions the window takes along axes of given lengths."""
        reach = span(self.size, self.dilation)
        axes = zip(spatial, reach, self.stride, self.margins, strict=True)
        return tuple((n - r + sum(added)) // s + 1 for n, r, s, added in axes)

    def along(self, axis: int) -> "Window":
        """Return the window that slides along one axis only, a point along the others."""

        def only(values: Any, point: Any) -> Any:
            return tuple(v if i == axis else point for i, v in enumerate(values))

        return Window(*map(only, self, (1, 1, 1, (0, 0))))

    def shifts(self, x: Array, fill: float = 0.0) -> Iterator[Array]:
        """Yield what each element of the window meets: an array (positions..., channels).

        They come in row-major order; what lies beyond x is `fill`.
        """
        positions = self.positions(x.shape[:-1])
        lengths = span(positions, self.stride)
        if any(map(any, self.margins)):
            edges = [(low, high, 0) for low, high in (*self.margins, (0, 0))]
            x = jax.lax.pad(x, jnp.asarray(fill, x.dtype), edges)
        for offset in itertools.product(*map(range, self.size)):
            first = tuple(map(operator.mul, offset, self.dilation))
            last = tuple(map(operator.add, first, lengths))
            yield jax.lax.slice(x, (*first, 0), (*last, x.shape[-1]), (*self.stride, 1))


def slide(
    size: Shape, stride: PerAxis, dilation: PerAxis, padding: Padding, spatial: Shape
) -> Window:
    """Place a window on spatial axes of given lengths, or raise if it is larger."""
    stride, dilation = spread(stride, len(size)), spread(dilation, len(size))
    reach = span(size, dilation)
    if padding == "same":
        axes = zip(spatial, reach, stride, strict=True)
        lacking = [max((n - 1) // s * s + r - n, 0) for n, r, s in axes]
        margins = tuple((p // 2, p - p // 2) for p in lacking)
    else:
        margins = fixed_margins(padding, reach)
    window = Window(size, stride, dilation, margins)
    if min(window.positions(spatial)) < 1:
        raise ValueError(
            f"a window that spans {reach} is larger than x, whose spatial axes are of "
            f"{spatial}, with padding {padding!r}; the output would be empty"
        )
    return window


def span(counts: Shape, steps: Shape) -> Shape:
    """Return how many elements so many span along each axis, a step apart."""
    return tuple((n - 1) * step + 1 for n, step in zip(counts, steps, strict=True))


def fixed_margins(padding: Padding, reach: Shape) -> tuple[tuple[int, int], ...]:
    """Return the (low, high) pairs of any padding but `"same"`."""
    if padding == "causal":
        return tuple((r - 1, 0) for r in reach)
    if isinstance(padding, tuple):
        return padding
    p = padding if isinstance(padding, int) else 0
    return ((p, p),) * len(reach)


def spread(value: PerAxis, axes: int) -> Shape:
    """Return one integer per axis."""
    return value if isinstance(value, tuple) else (value,) * axes


def check_example(owner: str, x: Array, axes: int) -> None:
    """Raise unless x is one floating-point example with so many spatial axes."""
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


def window_size(name: str, value: Any) -> Shape:
    """Return the size of a window of one to three axes as a tuple."""
    if not isinstance(value, tuple | list) or len(value) not in AXES:
        raise ValueError(
            f"{name} must be a tuple of 1, 2 or 3 positive integers, one for each spatial "
            f"axis, such as (3,) or (3, 3); got {value!r}"
        )
    return tuple(checks.positive_integer(f"each element of {name}", k) for k in value)


def per_axis(name: str, value: Any, axes: int, least: int = 1) -> PerAxis:
    """Return one integer, or a tuple of one for each axis; none is below `least`."""
    values = value if isinstance(value, tuple | list) else [value] * axes
    if len(values) != axes or not all(_is_integer(v) and v >= least for v in values):
        raise ValueError(
            f"{name} must be an integer from {least} on, or a tuple of one for each of the "
            f"{axes} spatial axes, got {value!r}"
        )
    return tuple(map(int, value)) if isinstance(value, tuple | list) else int(value)


def checked_padding(padding: Any, axes: int) -> Padding:
    """Return the padding, its pairs as tuples, or raise if it is none."""
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


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _fold(
    combine: Callable[[Array, Array], Array], window: Window, x: Array, fill: float
) -> Array:
    """Combine the elements of each window, along one axis after the other.

    The last axis comes first, so that of equal elements the first in row-major order is
    the left argument of `combine`. Slices and `where` train faster than `reduce_window`.
    """
    for axis in reversed(range(len(window.size))):
        x = functools.reduce(combine, window.along(axis).shifts(x, fill))
    return x


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
