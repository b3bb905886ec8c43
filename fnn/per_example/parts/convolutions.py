"""The gradients of convolutions' kernels, kept as their operands."""

import dataclasses
import functools
import itertools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.per_example.parts import norms, products
from fnn.per_example.parts.products import STATIC, Product
from fnn.per_example.parts.views import Permute, Reshape, View
from fnn.types import Array, wide

# Multiplications that take as long as to copy a number, about the same on all devices.
WORTH_OF_COPYING = 50
# Channels that are copied as fast at a time as rows of positions are.
RUN = 8
# Positions that are taken for one at most.
LONGEST = 8


class Axis(NamedTuple):
    """A spatial axis: offset k meets element `stride` k + `step` t at position t."""

    offsets: int
    positions: int
    stride: int
    step: int
    padding: tuple[int, int]
    dilation: int  # of the input, before it is padded

    @property
    def reach(self) -> int:
        """Return how many elements are met."""
        return (self.offsets - 1) * self.stride + (self.positions - 1) * self.step + 1

    @property
    def dense(self) -> bool:
        """Return whether offsets, and positions, meet neighbours."""
        return self.stride == self.step == 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Convolution(Product):
    """The gradient of a kernel: a convolution of input a with cotangent b.

    a is (group · image, space..., channel), b (image, position..., feature). A are patches
    of the input: d is (offset..., channel), T (image, position...).
    """

    axes: tuple[Axis, ...] = dataclasses.field(metadata=STATIC)
    images: int = dataclasses.field(metadata=STATIC)
    groups: tuple[int, int] = dataclasses.field(
        metadata=STATIC
    )  # of the features, of the batch

    def factors(self) -> tuple[Array, Array]:
        a = self._input(())
        return a.swapaxes(1, 2) if self._few else a, self._cotangent(())

    def block(self, precision: Any) -> Array:
        """Return g of one example, (N, d, p), by the product that is fastest.

        Patches are what all offsets meet. Along an axis on which positions are neighbours,
        the cotangent can be shifted instead. Where the input is along some axes, and the
        cotangent along others, less is copied: for a window of 3x3, 3 and 3 shifts, not 9.
        Of few channels and features, runs of neighbours are taken for one position, and
        what each of them meets is taken out of their product.
        """
        run, moved = self._way()
        if run == 1:
            return self._multiplied(moved, precision)
        *space, positions, features = self.b.shape
        b = self.b.reshape(*space, positions // run, run * features)
        runs = dataclasses.replace(self._in_runs(run), b=b)
        block = runs._multiplied(moved, precision)
        block = block.reshape(*runs.result[:-1], run, features)
        # Neighbour j meets offsets j, j + 1, ... of what the run does.
        met = self.axes[-1].offsets
        parts = [block[..., j : j + met, :, j, :] for j in range(run)]
        return functools.reduce(operator.add, parts).reshape(-1, *self.dims[2:])

    def copied(self) -> int:
        run, moved = self._way()
        return self._in_runs(run)._copied(moved)

    def total(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, by the same convolution with i among its images."""
        a, b = products.weighted(self.a, self.b, weights)
        if self.groups != (1, 1):  # grouped convolutions are slow: a product of patches
            term = dataclasses.replace(self, a=a, b=b)
            a, b = jax.vmap(Convolution.factors)(term)
            dimensions = (((0, 2), (0, 2)), ((1,), (1,)))
            block = lax.dot_general(
                a, b, dimensions, self.precision, preferred_element_type=wide(a.dtype)
            )
            return products.unfold(self, block)
        _, _, strides, steps, padding, dilations = zip(*self.axes, strict=True)
        space = tuple(range(len(self.axes)))
        in_order = (0, 1 + len(space), *(1 + axis for axis in space))
        # With axes in order, XLA on the CPU convolves fast inside of loops too.
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
        result = jnp.moveaxis(result, 0, -2).reshape(self.result)
        return products.unfold(self, result)

    @property
    def _few(self) -> bool:
        """Return whether channels are so few that rows of positions are copied faster."""
        return self.result[-2] < RUN

    def _way(self) -> tuple[int, tuple[int, ...]]:
        """Return the length of runs, and the axes along which to shift the cotangent."""
        runs = [1]
        if self.groups == (1, 1) and self.axes[-1].dense:
            positions = self.axes[-1].positions
            runs = [run for run in range(1, LONGEST + 1) if positions % run == 0]
        ways = [(run, moved) for run in runs for moved in self._in_runs(run)._shifts()]
        return min(ways, key=lambda way: self._cost(*way))

    def _shifts(self) -> list[tuple[int, ...]]:
        """Return the sets of axes along which the cotangent can be shifted."""
        dense = [k for k, axis in enumerate(self.axes) if axis.dense]
        counts = range(len(dense) + 1)
        return [m for n in counts for m in itertools.combinations(dense, n)]

    def _cost(self, run: int, moved: tuple[int, ...]) -> int:
        """Return how many multiplications take as long as a way to the product."""
        runs = self._in_runs(run)
        copied = runs._copied(moved) + (math.prod(runs.result) if run > 1 else 0)
        return math.prod(runs._sizes(moved)) + WORTH_OF_COPYING * copied

    def _in_runs(self, run: int) -> "Convolution":
        """Return the product in which runs of neighbours on the last axis are positions.

        Its window is what a run meets, and its features are those of all neighbours.
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
            block = jnp.matmul(
                a, g, precision=precision, preferred_element_type=accumulated
            )
        else:
            block = norms.product(a, g, precision)
        if not moved:
            return block
        kept = [k for k in range(len(self.axes)) if k not in moved]
        split = [block.shape[0], *(self.axes[k].offsets for k in kept), self.result[-2]]
        split += [*(self.axes[k].offsets for k in moved), self.result[-1]]
        names = ["n", *kept, "channel", *moved, "feature"]
        order = ["n", *range(len(self.axes)), "channel", "feature"]
        block = block.reshape(split).transpose([names.index(name) for name in order])
        return block.reshape(block.shape[0], -1, self.result[-1])

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
        """Return what offsets meet; along moved axes, all that is met.

        It is (N, T, d), or (N, d, T) if channels are few.
        """
        n, t, d, _ = self._sizes(moved)
        x = self._padded()  # (batch group, feature group, image, space..., channel)
        into, first = 3 + len(self.axes), 3
        if self._few:
            x, into, first = jnp.moveaxis(x, -1, 2), 2, 4
        for k, axis in reversed(list(enumerate(self.axes))):
            if k in moved:
                x = lax.slice_in_dim(x, 0, axis.reach, axis=first + k)
            else:
                x = _windows(x, axis, first + k, into)
                first += self._few
        return x.reshape((n, d, t) if self._few else (n, t, d))

    def _padded(self) -> Array:
        """Return the input, padded and in groups."""
        features, batches = self.groups
        pads = [(*axis.padding, axis.dilation - 1) for axis in self.axes]
        x = lax.pad(self.a, jnp.zeros((), self.a.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
        images, *space, channels = x.shape
        split = (features, images // features, *space, batches, channels // batches)
        return jnp.moveaxis(x.reshape(split), -2, 0)

    def _cotangent(self, moved: tuple[int, ...]) -> Array:
        """Return the cotangent, (N, T, p), shifted along the moved axes."""
        n, t, _, p = self._sizes(moved)
        g = self.b.reshape(*self.b.shape[:-1], n, self.result[-1])
        g = jnp.moveaxis(g, -2, 0)  # (N, image, position..., feature)
        into = g.ndim - 1
        for k in reversed(moved):
            shifts = [
                (i, self.axes[k].offsets - 1 - i) for i in range(self.axes[k].offsets)
            ]
            g = jnp.stack([_padded(g, 2 + k, *shift) for shift in shifts], into)
        return g.reshape(n, t, p)


def convolution(
    a: Array, b: Array, params: dict[str, Any], chain: tuple[View, ...]
) -> Product:
    """Return the product `lax.conv_general_dilated(a, b)`, seen through views."""
    numbers = params["dimension_numbers"]
    features, batches = params["feature_group_count"], params["batch_group_count"]
    channel, group, *space = numbers.lhs_spec
    if not space and features == batches == 1:  # a product of matrices
        summed = ((group,), (numbers.rhs_spec[1],))
        to_out = Permute(tuple(int(k) for k in np.argsort(numbers.out_spec)))
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
    to_out = Permute(tuple(int(k) for k in np.argsort(numbers.out_spec)))
    chain = (to_spec, Reshape(permuted, merged), to_out, *chain)
    dims = (n, t, math.prod(offsets) * channels, p)
    groups = (features, batches)
    return Convolution(a, b, dims, result, chain, params["precision"], axes, images, groups)


def _axis(
    size: int, taps: int, stride: int, step: int, padding: tuple[int, int], dilation: int
) -> Axis:
    """Return the axis along which a window of `taps` slides."""
    padded = max(size - 1, 0) * dilation + 1 + sum(padding)
    offsets = max((padded - (taps - 1) * step - 1) // stride + 1, 0)
    return Axis(offsets, taps, stride, step, padding, dilation)


def _windows(x: Array, axis: Axis, at: int, into: int) -> Array:
    """Make of axis `at` one of positions, and put one of offsets in as axis `into`."""
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
