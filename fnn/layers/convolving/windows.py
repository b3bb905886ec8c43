"""Windows that slide over the spatial axes of an example, (spatial..., channels).

Pooling and convolution share them: where a window stands, and which elements it meets.
"""

import itertools
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn.layers.convolving.arguments import Padding, PerAxis, one_per_axis
from fnn.types import Array, Shape

Pairs: TypeAlias = tuple[tuple[int, int], ...]
"""Padding as XLA takes it: for each spatial axis, how many elements are added before and
after. A negative number cuts elements off."""


class Steps(NamedTuple):
    """How XLA slides a kernel (rhs) over an array (lhs), for each spatial axis.

    The arguments of `jax.lax.conv_general_dilated` of these names.
    """

    stride: Shape
    padding: Pairs
    lhs_dilation: Shape  # distance between elements of the array, with zeros in between
    rhs_dilation: Shape  # distance between elements of the kernel


class Window(NamedTuple):
    """A window, and how it slides along each spatial axis of an array."""

    size: Shape
    stride: Shape
    dilation: Shape
    padding: Pairs

    @property
    def extent(self) -> Shape:
        """The number of elements from the first to the last of the window, per axis."""
        return extent(self.size, self.dilation)

    def positions(self, spatial: Shape) -> Shape:
        """Return how many positions the window takes along axes of given lengths."""
        axes = zip(spatial, self.extent, self.stride, self.padding, strict=True)
        return tuple((n + sum(pair) - e) // s + 1 for n, e, s, pair in axes)

    def along(self, axis: int) -> "Window":
        """Return the window that slides along one axis only, a point along the others."""

        def only(values: Any, point: Any) -> Any:
            return tuple(v if i == axis else point for i, v in enumerate(values))

        return Window(*map(only, self, (1, 1, 1, (0, 0))))

    def forward(self) -> Steps:
        """Return the steps of the kernel over the input."""
        return Steps(self.stride, self.padding, _ones(self.size), self.dilation)

    def input_gradient(self, spatial: Shape) -> Steps:
        """Return the steps of the flipped kernel over the cotangent of the output.

        The cotangent's elements are `stride` apart, and its padding is such that the
        result has the spatial axes of the input, of the given lengths. For example, n = 6
        under k = 3, stride 2 and padding (1, 0) has 3 outputs. The cotangent g spans 5:

            0 | g0  0 g1  0 g2 | 0 0      padding (k - 1 - low, n - 5 + low) = (1, 2)

        over which the kernel takes 6 positions.
        """
        covered = extent(self.positions(spatial), self.stride)
        axes = zip(spatial, self.extent, covered, self.padding, strict=True)
        padding = tuple((e - 1 - low, n - c + low) for n, e, c, (low, _) in axes)
        return Steps(_ones(self.size), padding, self.stride, self.dilation)

    def kernel_gradient(self, spatial: Shape) -> Steps:
        """Return the steps of the cotangent, as a kernel, over the input.

        The cotangent's elements meet inputs `stride` apart, and it moves by `dilation` to
        the next element of the window's. With n = 6, k = 3, stride 2 and padding (1, 0)
        the cotangent spans 5, and takes 3 positions over 0 x0 x1 x2 x3 x4 x5. Inputs at
        the end that no window reaches are cut off by negative padding.
        """
        covered = extent(self.positions(spatial), self.stride)
        axes = zip(spatial, self.extent, covered, self.padding, strict=True)
        padding = tuple((low, e - 1 + c - n - low) for n, e, c, (low, _) in axes)
        return Steps(self.dilation, padding, _ones(self.size), self.stride)

    def inside(self) -> "Window":
        """Return the window without padding, for an array that is padded already."""
        return self._replace(padding=((0, 0),) * len(self.size))

    def pad(self, x: Array, fill: float = 0.0, lhs_dilation: Shape | None = None) -> Array:
        """Return x with its padding filled, and its elements `lhs_dilation` apart."""
        steps = lhs_dilation or _ones(self.size)
        config = [(*pair, step - 1) for pair, step in zip(self.padding, steps, strict=True)]
        return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [*config, (0, 0, 0)])

    def shifts(self, x: Array, fill: float = 0.0) -> Iterator[Array]:
        """Yield the inputs that each element of the window meets: (positions..., channels).

        The elements come in row-major order; padding is `fill`. For example, size 3 and
        stride 2 over x of shape (7, C) give x[0:5:2], x[1:6:2] and x[2:7:2], of (3, C).
        """
        lengths = extent(self.positions(x.shape[:-1]), self.stride)
        x = self.pad(x, fill) if any(map(any, self.padding)) else x
        for offset in itertools.product(*map(range, self.size)):
            first = tuple(map(operator.mul, offset, self.dilation))
            last = tuple(map(operator.add, first, lengths))
            yield jax.lax.slice(x, (*first, 0), (*last, x.shape[-1]), (*self.stride, 1))


def slide(
    size: Shape, stride: PerAxis, dilation: PerAxis, padding: Padding, spatial: Shape
) -> Window:
    """Place a window on spatial axes of given lengths, or raise if it is larger."""
    stride, dilation = one_per_axis(stride, len(size)), one_per_axis(dilation, len(size))
    covered = extent(size, dilation)
    if padding == "same":
        axes = zip(spatial, covered, stride, strict=True)
        lacking = [max((n - 1) // s * s + e - n, 0) for n, e, s in axes]
        pairs = tuple((p // 2, p - p // 2) for p in lacking)
    else:
        pairs = padding_pairs(padding, covered)
    window = Window(size, stride, dilation, pairs)
    if min(window.positions(spatial)) < 1:
        raise ValueError(
            f"a window that spans {covered} is larger than x, whose spatial axes are of "
            f"{spatial}, with padding {padding!r}; the output would be empty"
        )
    return window


def padding_pairs(padding: Padding, covered: Shape) -> Pairs:
    """Return the (low, high) pairs of any padding but `"same"`.

    Args:
        padding: The option of a layer.
        covered: The window's extent along each axis.
    """
    if padding == "causal":
        return tuple((e - 1, 0) for e in covered)
    if isinstance(padding, tuple):
        return padding
    p = padding if isinstance(padding, int) else 0
    return ((p, p),) * len(covered)


def extent(counts: Shape, steps: Shape) -> Shape:
    """Return the extent of `counts` elements that are `steps` apart, per axis."""
    return tuple((n - 1) * step + 1 for n, step in zip(counts, steps, strict=True))


def _ones(size: Shape) -> Shape:
    return (1,) * len(size)
