"""Windows that slide over the spatial axes of an example, (spatial..., channels).

Where a window stands, and what lies under it, is what pooling and convolution ask alike.
"""

import itertools
import operator
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array, Shape

PerAxis: TypeAlias = int | tuple[int, ...]
"""One integer for all spatial axes, or one for each."""
Padding: TypeAlias = Literal["valid", "same", "causal"] | int | tuple[tuple[int, int], ...]
"""A rule, one integer for all sides, or a (low, high) pair for each spatial axis."""

AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}


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

    def edges(self, spatial: Shape) -> tuple[tuple[int, int], ...]:
        """Return the margins of a cotangent whose elements are `stride` apart.

        With them this window, turned around, takes the positions of the input, its spatial
        axes of the given lengths.
        """
        reach = span(self.size, self.dilation)
        extent = span(self.positions(spatial), self.stride)
        axes = zip(spatial, reach, extent, self.margins, strict=True)
        return tuple((r - 1 - low, n - e + low) for n, r, e, (low, _) in axes)

    def inside(self) -> "Window":
        """Return the window without margins, which slides over what has them already."""
        return self._replace(margins=((0, 0),) * len(self.size))

    def pad(self, x: Array, fill: float = 0.0, apart: Shape | None = None) -> Array:
        """Return x with its margins filled, and gaps, its elements `apart` steps apart."""
        steps = apart or (1,) * len(self.size)
        edges = [(*edge, step - 1) for edge, step in zip(self.margins, steps, strict=True)]
        return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [*edges, (0, 0, 0)])

    def shifts(self, x: Array, fill: float = 0.0) -> Iterator[Array]:
        """Yield what each element of the window meets: an array (positions..., channels).

        They come in row-major order; what lies beyond x is `fill`.
        """
        lengths = span(self.positions(x.shape[:-1]), self.stride)
        x = self.pad(x, fill) if any(map(any, self.margins)) else x
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
