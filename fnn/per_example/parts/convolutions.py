"""Products that are gradients of convolutions' kernels, kept as their operands.

An element of the kernel is an offset; the output has positions. At each position, each
offset meets one element of the input. For y = x * w of 5 pixels and a window of 3:

    position   0    1    2        A = [x0 x1 x2]   patches: a row for each position,
    offset 0   x0   x1   x2           [x1 x2 x3]            a column for each offset
    offset 1   x1   x2   x3           [x2 x3 x4]
    offset 2   x2   x3   x4       g = Aᵀ dy        (offsets · channels, features)
"""

import dataclasses
import functools
import itertools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.per_example.parts import norms, products, views
from fnn.per_example.parts.products import STATIC, Product
from fnn.per_example.parts.views import Permute, Reshape, View
from fnn.types import Array, wide

# Set by the suite `per_example` of benchmarks, clipped gradients on two CPU cores.

# Copying a number takes as long as this many multiplications, about the same on all
# devices. It decides which axes are shifted: ResNet-20 copies a third of what patches take.
MULTIPLICATIONS_PER_COPY = 50
# Below this many channels, copy whole rows of positions at a time instead of the channels
# of a position: as in LeNet, with 1 and 6 channels.
LEAST_CHANNELS = 8
# The longest run of neighbouring positions that is treated as one position. LeNet's first
# layer, of 6 features, takes runs of 4: 1.6 ms instead of 2.3.
LONGEST_RUN = 8


class Axis(NamedTuple):
    """A spatial axis: at position t, offset k meets element `stride` k + `step` t.

    The gradient of a kernel is itself a convolution, whose window is the cotangent. So its
    stride, `stride`, is the dilation of the window in the forward pass, and `step`, the
    dilation of its window, is the stride in the forward pass.
    """

    offsets: int
    positions: int
    stride: int
    step: int
    padding: tuple[int, int]
    dilation: int  # of the input, before it is padded

    @property
    def reach(self) -> int:
        """Return the number of elements from the first to the last that is met."""
        return (self.offsets - 1) * self.stride + (self.positions - 1) * self.step + 1

    @property
    def unit_stride(self) -> bool:
        """Return whether neighbouring offsets, and positions, meet neighbours."""
        return self.stride == self.step == 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Convolution(Product):
    """The gradient of a kernel: a convolution of input a with cotangent b.

    A are patches of the input: d is (offset..., channel), T is (image, position...).

    Attributes:
        a: The input, (feature group · image, space..., batch group · channel).
        b: The cotangent, (image, position..., N · feature).
        axes: The spatial axes.
        images: How many images one example has.
        groups: `feature_group_count` and `batch_group_count`; N is their product.
    """

    axes: tuple[Axis, ...] = dataclasses.field(metadata=STATIC)
    images: int = dataclasses.field(metadata=STATIC)
    groups: tuple[int, int] = dataclasses.field(metadata=STATIC)

    def factors(self) -> tuple[Array, Array]:
        a = self._input(())
        return a.swapaxes(1, 2) if self._few else a, self._cotangent(())

    def matrices(self, precision: Any) -> Array:
        """Return g as N matrices, (N, d, p), by the product that is fastest.

        Patches hold what all offsets meet: a window of 3x3 copies the input 9 times. Along
        an axis of unit stride, the cotangent can be shifted instead of the input:

            g[offset, c, f] = Σₜ x[t + offset, c] dy[t, f] = Σₛ x[s, c] dy[s - offset, f]

        The sum over s has A = x, (reach, c), as it is, and G the shifted cotangents,
        (reach, offsets · f). With the input shifted along one axis and the cotangent along
        the other, a window of 3x3 takes 3 + 3 copies.

        With few channels and features, the matrices are too narrow to multiply fast. Then
        a run of r neighbouring positions is treated as one position with r times the
        features, whose window covers what any of them meets. For r = 2 and 3 offsets, the
        window of the product M has 4 offsets, and

            g = M[0:3, features of neighbour 0] + M[1:4, features of neighbour 1]
        """
        run, moved = self._plan()
        if run == 1:
            return self._multiplied(moved, precision)
        # b: (image, ..., positions, N·p) -> (image, ..., positions / run, run · p), N is 1
        *space, positions, features = self.b.shape
        b = self.b.reshape(*space, positions // run, run * features)
        in_runs = dataclasses.replace(self._in_runs(run), b=b)
        product = in_runs._multiplied(moved, precision)
        # (N, offset..., offsets + run - 1, channel, run, p)
        product = product.reshape(*in_runs.result[:-1], run, features)
        offsets = self.axes[-1].offsets
        parts = [product[..., j : j + offsets, :, j, :] for j in range(run)]
        return functools.reduce(operator.add, parts).reshape(-1, *self.dims[2:])

    def copied(self) -> int:
        run, moved = self._plan()
        return self._in_runs(run)._copied(moved)

    def batch_sum(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ by the same convolution, with i among its images."""
        a, b = products.weighted(self.a, self.b, weights)
        if self.groups != (1, 1):  # grouped convolutions are slow: a product of patches
            weighted = dataclasses.replace(self, a=a, b=b)
            a, b = jax.vmap(Convolution.factors)(weighted)  # (B, N, T, d), (B, N, T, p)
            dimensions = (((0, 2), (0, 2)), ((1,), (1,)))
            matrices = lax.dot_general(
                a, b, dimensions, self.precision, preferred_element_type=wide(a.dtype)
            )
            return products.unfold(self, matrices)
        _, _, strides, steps, padding, dilations = zip(*self.axes, strict=True)
        space = tuple(range(len(self.axes)))
        in_order = (0, 1 + len(space), *(1 + axis for axis in space))
        # The channels of a stand where a convolution has images, and i and the images where
        # it has channels: so it sums over these. With axes in the order of NHWC and HWIO,
        # XLA on the CPU convolves fast inside of loops too.
        #   a (B, image, space..., c) -> (B·image, space..., c) -> (c, space..., B·image)
        #   b (B, image, position..., f) -> (position..., B·image, f)
        result = lax.conv_general_dilated(
            jnp.moveaxis(jnp.moveaxis(products.merge(a, 0), -1, 0), 1, -1),
            jnp.moveaxis(products.merge(b, 0), 0, -2),
            strides,
            padding,
            dilations,
            steps,
            lax.ConvDimensionNumbers(
                in_order, (1 + len(space), len(space), *space), in_order
            ),
            precision=self.precision,
            preferred_element_type=wide(a.dtype),
        )
        # (c, offset..., f) -> (offset..., c, f)
        result = jnp.moveaxis(result, 0, -2).reshape(self.result)
        return products.unfold(self, result)

    @property
    def _few(self) -> bool:
        """Return whether there are so few channels that rows of positions are copied."""
        return self.result[-2] < LEAST_CHANNELS

    def _plan(self) -> tuple[int, tuple[int, ...]]:
        """Return the length of runs, and the axes along which to shift the cotangent."""
        runs = [1]
        if self.groups == (1, 1) and self.axes[-1].unit_stride:
            positions = self.axes[-1].positions
            runs = [run for run in range(1, LONGEST_RUN + 1) if positions % run == 0]
        plans = [(run, moved) for run in runs for moved in self._in_runs(run)._shifts()]
        return min(plans, key=lambda plan: self._cost(*plan))

    def _shifts(self) -> list[tuple[int, ...]]:
        """Return the sets of axes along which the cotangent can be shifted."""
        movable = [k for k, axis in enumerate(self.axes) if axis.unit_stride]
        counts = range(len(movable) + 1)
        return [m for n in counts for m in itertools.combinations(movable, n)]

    def _cost(self, run: int, moved: tuple[int, ...]) -> int:
        """Return the cost of a plan, in multiplications."""
        in_runs = self._in_runs(run)
        copied = in_runs._copied(moved) + (math.prod(in_runs.result) if run > 1 else 0)
        return math.prod(in_runs._sizes(moved)) + MULTIPLICATIONS_PER_COPY * copied

    def _in_runs(self, run: int) -> "Convolution":
        """Return the product in which runs of neighbours on the last axis are positions.

        Its window covers what a run meets, and its features are those of all neighbours.
        """
        if run == 1:
            return self
        *axes, last = self.axes
        offsets, positions = last.offsets + run - 1, last.positions // run
        axis = last._replace(offsets=offsets, positions=positions, step=run * last.step)
        n, *window, _, channels, p = self.result
        result = (n, *window, offsets, channels, run * p)
        return dataclasses.replace(self, result=result, axes=(*axes, axis))

    def _multiplied(self, moved: tuple[int, ...], precision: Any) -> Array:
        """Return g with the cotangent shifted along some axes."""
        a, g = self._input(moved), self._cotangent(moved)
        if self._few:
            accumulated = wide(a.dtype)
            product = jnp.matmul(
                a, g, precision=precision, preferred_element_type=accumulated
            )
        else:
            product = norms.multiply(a, g, precision)
        if not moved:
            return product
        # (N, kept offsets..., channel, moved offsets..., feature) -> (N, offset..., c, f)
        kept = [k for k in range(len(self.axes)) if k not in moved]
        split = [product.shape[0], *(self.axes[k].offsets for k in kept), self.result[-2]]
        split += [*(self.axes[k].offsets for k in moved), self.result[-1]]
        names = ["n", *kept, "channel", *moved, "feature"]
        order = ["n", *range(len(self.axes)), "channel", "feature"]
        product = product.reshape(split).transpose([names.index(name) for name in order])
        return product.reshape(product.shape[0], -1, self.result[-1])

    def _sizes(self, moved: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Return N, T, d, p of the product with the cotangent shifted along some axes."""
        n, t, d, p = self.result[0], self.images, *self.result[-2:]
        for k, axis in enumerate(self.axes):
            if k in moved:
                t, p = t * axis.reach, p * axis.offsets
            else:
                t, d = t * axis.positions, d * axis.offsets
        return n, t, d, p

    def _copied(self, moved: tuple[int, ...]) -> int:
        n, t, d, p = self._sizes(moved)
        return n * t * (d + p if moved else d)

    def _input(self, moved: tuple[int, ...]) -> Array:
        """Return A: what each offset meets, and all that is met along moved axes.

        It is (N, T, d), or (N, d, T) with few channels.
        """
        n, t, d, _ = self._sizes(moved)
        x = self._padded()  # (batch group, feature group, image, space..., channel)
        into, first = 3 + len(self.axes), 3
        if self._few:
            x, into, first = jnp.moveaxis(x, -1, 2), 2, 4
        # Each axis of elements becomes one of positions. Its offsets are inserted in front
        # of the channels, or of the positions if channels are few. The last axis comes
        # first, so that offsets end up in the order of the axes.
        for k, axis in reversed(list(enumerate(self.axes))):
            if k in moved:
                x = lax.slice_in_dim(x, 0, axis.reach, axis=first + k)
            else:
                x = _windows(x, axis, first + k, into)
                first += self._few
        return x.reshape((n, d, t) if self._few else (n, t, d))

    def _padded(self) -> Array:
        """Return the padded input.

        It is (batch group, feature group, image, space..., channel).
        """
        features, batches = self.groups
        pads = [(*axis.padding, axis.dilation - 1) for axis in self.axes]
        x = lax.pad(self.a, jnp.zeros((), self.a.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
        images, *space, channels = x.shape
        split = (features, images // features, *space, batches, channels // batches)
        return jnp.moveaxis(x.reshape(split), -2, 0)

    def _cotangent(self, moved: tuple[int, ...]) -> Array:
        """Return G, (N, T, p): the cotangent, with all its shifts along the moved axes."""
        n, t, _, p = self._sizes(moved)
        g = self.b.reshape(*self.b.shape[:-1], n, self.result[-1])
        g = jnp.moveaxis(g, -2, 0)  # (N, image, position..., feature)
        into = g.ndim - 1
        # positions -> reach, with a new axis of offsets in front of the features
        for k in reversed(moved):
            shifts = [
                (i, self.axes[k].offsets - 1 - i) for i in range(self.axes[k].offsets)
            ]
            g = jnp.stack([_padded(g, 2 + k, *shift) for shift in shifts], into)
        return g.reshape(n, t, p)


def convolution(
    a: Array, b: Array, params: dict[str, Any], chain: tuple[View, ...]
) -> Product:
    """Return the product `lax.conv_general_dilated(a, b)`, seen through views.

    JAX forms the gradient of a kernel as a convolution of the input with the cotangent:
    the input's channels stand for images, and its images for channels.
    """
    numbers = params["dimension_numbers"]
    features, batches = params["feature_group_count"], params["batch_group_count"]
    channel, group, *space = numbers.lhs_spec
    if not space and features == batches == 1:  # without spatial axes: a matrix product
        summed = ((group,), (numbers.rhs_spec[1],))
        to_out = Permute(views.inverse(numbers.out_spec))
        seen = (to_out, *chain)
        return products.dot(a, b, (summed, ((), ())), params["precision"], seen)
    a, b = products.alike(a, b)
    a = a.transpose(group, *space, channel)
    feature, image, *space = numbers.rhs_spec
    b = b.transpose(image, *space, feature)
    images, n = b.shape[0], features * batches
    channels, p = a.shape[-1] // batches, b.shape[-1] // n
    sides = zip(
        a.shape[1:-1],
        b.shape[1:-1],
        params["window_strides"],
        params["rhs_dilation"],
        params["padding"],
        params["lhs_dilation"],
        strict=True,
    )
    axes = tuple(_axis(*side) for side in sides)
    offsets = [axis.offsets for axis in axes]
    t = images * math.prod(axis.positions for axis in axes)
    result = (n, *offsets, channels, p)
    # (n, offset..., channel, p) -> (channel, (n, p), offset...) -> the order of the output
    last = len(result) - 1
    to_spec = Permute((last - 1, 0, last, *range(1, last - 1)))
    merged = (channels, n * p, *offsets)
    permuted = tuple(result[axis] for axis in to_spec.axes)
    to_out = Permute(views.inverse(numbers.out_spec))
    chain = (to_spec, Reshape(permuted, merged), to_out, *chain)
    dims = (n, t, math.prod(offsets) * channels, p)
    groups = (features, batches)
    return Convolution(a, b, dims, result, chain, params["precision"], axes, images, groups)


def _axis(
    size: int, taps: int, stride: int, step: int, padding: tuple[int, int], dilation: int
) -> Axis:
    """Return the axis along which a window of `taps` elements slides.

    The window is the cotangent: its taps are the positions of the forward pass, and where
    it slides to are the offsets.
    """
    padded = max(size - 1, 0) * dilation + 1 + sum(padding)
    offsets = max((padded - (taps - 1) * step - 1) // stride + 1, 0)
    return Axis(offsets, taps, stride, step, padding, dilation)


def _windows(x: Array, axis: Axis, at: int, into: int) -> Array:
    """Turn axis `at` of elements into one of positions, with offsets as axis `into`.

    It stacks a slice for each offset or for each position, whichever are fewer.
    """
    offsets, positions, stride, step, *_ = axis
    if offsets <= positions:
        span = (positions - 1) * step + 1
        starts = [offset * stride for offset in range(offsets)]
        pieces = [lax.slice_in_dim(x, s, s + span, step, at) for s in starts]
        return jnp.stack(pieces, into)
    span = (offsets - 1) * stride + 1
    starts = [position * step for position in range(positions)]
    pieces = [lax.slice_in_dim(x, s, s + span, stride, at) for s in starts]
    return jnp.moveaxis(jnp.stack(pieces, at), at + 1, into)


def _padded(x: Array, axis: int, low: int, high: int) -> Array:
    return jnp.pad(x, [(low, high) if k == axis else (0, 0) for k in range(x.ndim)])
