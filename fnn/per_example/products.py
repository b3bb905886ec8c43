"""Products g = Aᵀ G that are kept as their operands.

Each is written for one example, as an equation of the gradient of one example forms it.
Its canonical factors are A, (N, T, d), and G, (N, T, p), and g[n] = Σₜ A[n, t]ᵀ G[n, t]:
T is what is summed over (positions, pixels), N what is not shared (heads, groups).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.per_example import views
from fnn.per_example.views import Permute, Reshape, View
from fnn.types import Array, Shape, wide

STATIC = {"static": True}  # of a field that is no array but part of the structure


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dot:
    """The result of `lax.dot_general`: `left` lists the axes N, T, d of a, `right` of b."""

    a: Array
    b: Array
    left: tuple[int, ...] = dataclasses.field(metadata=STATIC)
    right: tuple[int, ...] = dataclasses.field(metadata=STATIC)
    counts: tuple[int, int] = dataclasses.field(
        metadata=STATIC
    )  # how many of the axes are N, and how many T
    dims: tuple[int, int, int, int] = dataclasses.field(metadata=STATIC)  # N, T, d, p
    result: Shape = dataclasses.field(metadata=STATIC)  # (N..., d..., p...)
    views: tuple[View, ...] = dataclasses.field(
        metadata=STATIC
    )  # from `result` to the parameter
    precision: Any = dataclasses.field(metadata=STATIC)

    def factors(self) -> tuple[Array, Array]:
        """Return A and G of one example."""
        n, t, d, p = self.dims
        a = self.a.transpose(self.left).reshape(n, t, d)
        return a, self.b.transpose(self.right).reshape(n, t, p)

    def layout(self) -> Any:
        """Return what uses of a parameter share that are one product, end to end."""
        return (self.result, self.views, (self.dims[0], *self.dims[2:]))

    def total(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, by one product that sums over i and t."""
        batch, contract = self.counts
        a, b = weighted(self.a, self.b, weights)
        left, right = ([axis + 1 for axis in axes] for axes in (self.left, self.right))
        summed = [0, *left[batch : batch + contract]], [0, *right[batch : batch + contract]]
        dimensions = (summed, (left[:batch], right[:batch]))
        result = lax.dot_general(
            a,
            b,
            dimensions,
            precision=self.precision,
            preferred_element_type=wide(a.dtype),
        )
        free = [np.argsort(np.argsort(s[batch + contract :])) for s in (left, right)]
        order = [*range(batch), *(free[0] + batch), *(free[1] + batch + len(free[0]))]
        return views.apply(self.views, result.transpose([int(axis) for axis in order]))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Convolution:
    """The gradient of a kernel: a convolution of input a with cotangent b.

    A are the patches of the input: d is (offset..., channel), T (image, position...).
    """

    a: Array
    b: Array
    axes: tuple[tuple[int, ...], tuple[int, ...]] = dataclasses.field(
        metadata=STATIC
    )  # the specs of a and b
    window: tuple[Any, ...] = dataclasses.field(
        metadata=STATIC
    )  # strides, padding, dilations of a and b
    groups: tuple[int, int] = dataclasses.field(
        metadata=STATIC
    )  # of the features, of the batch
    dims: tuple[int, int, int, int] = dataclasses.field(metadata=STATIC)
    result: Shape = dataclasses.field(metadata=STATIC)  # (N, offset..., channel, p)
    views: tuple[View, ...] = dataclasses.field(metadata=STATIC)
    precision: Any = dataclasses.field(metadata=STATIC)

    def factors(self) -> tuple[Array, Array]:
        """Return A and G of one example."""
        n, t, d, p = self.dims
        features, batches = self.groups
        x = self._patches()  # (batch, feature, position..., offset...)
        channels = x.shape[0] // batches
        x = x.reshape(batches, channels, features, x.shape[1] // features, *x.shape[2:])
        spatial = len(self.result) - 3
        t_axes = [3, *range(4, 4 + spatial)]
        d_axes = [*range(4 + spatial, 4 + 2 * spatial), 1]
        a = x.transpose([0, 2, *t_axes, *d_axes]).reshape(n, t, d)
        b = self.b.transpose(self.axes[1])
        b = b.reshape(n, p, *b.shape[1:])
        return a, jnp.moveaxis(b, 1, -1).reshape(n, t, p)

    def layout(self) -> Any:
        """Return what uses of a parameter share that are one product, end to end."""
        return (self.result, self.views, (self.dims[0], *self.dims[2:]))

    def total(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, by the same convolution with i among its features."""
        a, b = weighted(self.a, self.b, weights)
        if self.groups != (1, 1):  # grouped convolutions are slow: a product of patches
            term = dataclasses.replace(self, a=a, b=b)
            a, b = jax.vmap(Convolution.factors)(term)
            dimensions = (((0, 2), (0, 2)), ((1,), (1,)))
            block = lax.dot_general(
                a, b, dimensions, self.precision, preferred_element_type=wide(a.dtype)
            )
            return unfold(self, block)
        spatial = len(self.result) - 3
        strides, padding, a_dilation, b_dilation = self.window
        out = (spatial, spatial + 1, *range(spatial))
        result = lax.conv_general_dilated(
            merge(a, self.axes[0][1]),
            merge(b, self.axes[1][1]),
            strides,
            padding,
            a_dilation,
            b_dilation,
            lax.ConvDimensionNumbers(*self.axes, out),
            precision=self.precision,
            preferred_element_type=wide(a.dtype),
        )
        return views.apply(self.views, result.reshape(self.result))

    def _patches(self) -> Array:
        """Return what each offset meets: (batch, feature, position..., offset...)."""
        strides, padding, a_dilation, b_dilation = self.window
        x = self.a.transpose(self.axes[0])
        pads = [(*pad, k - 1) for pad, k in zip(padding, a_dilation, strict=True)]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *pads])
        positions = [self.b.shape[axis] for axis in self.axes[1][2:]]
        offsets = self.result[1:-2]
        for i, steps in enumerate(
            zip(offsets, strides, positions, b_dilation, strict=True)
        ):
            x = _windows(x, 2 + i, *steps)
        return x


Product: TypeAlias = Dot | Convolution


def dot(
    a: Array,
    b: Array,
    dimension_numbers: Any,
    precision: Any,
    chain: tuple[View, ...],
) -> Dot:
    """Return the product `lax.dot_general(a, b)`, seen through a chain of views.

    Where the views only permute, the factors are put in the order of the parameter's
    axes, the first of them among d: so uses of one parameter, transposed or not, agree.
    """
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    a, b = _alike(a, b)
    a_free = [k for k in range(a.ndim) if k not in (*a_sum, *a_batch)]
    b_free = [k for k in range(b.ndim) if k not in (*b_sum, *b_batch)]
    axes = [("n", k) for k in range(len(a_batch))]
    axes += [("d", k) for k in a_free] + [("p", k) for k in b_free]
    if (moved := views.permutation(chain, len(axes))) is not None:
        axes = [axes[k] for k in moved]
        if next((kind for kind, _ in axes if kind != "n"), "d") == "p":
            swap = {"n": "n", "d": "p", "p": "d"}
            axes = [(swap[kind], k) for kind, k in axes]
            a, b, a_sum, b_sum, a_batch, b_batch = b, a, b_sum, a_sum, b_batch, a_batch
        order = {kind: [k for name, k in axes if name == kind] for kind in "ndp"}
        kinds = sorted(range(len(axes)), key=lambda i: ("ndp".index(axes[i][0]), i))
        chain = (Permute(tuple(int(i) for i in np.argsort(kinds))),)
    else:
        order = {"n": list(range(len(a_batch))), "d": a_free, "p": b_free}
    left = (*(a_batch[k] for k in order["n"]), *a_sum, *order["d"])
    right = (*(b_batch[k] for k in order["n"]), *b_sum, *order["p"])
    result = [a.shape[a_batch[k]] for k in order["n"]]
    result += [a.shape[k] for k in order["d"]] + [b.shape[k] for k in order["p"]]
    dims = (
        math.prod(a.shape[k] for k in a_batch),
        math.prod(a.shape[k] for k in a_sum),
        math.prod(a.shape[k] for k in order["d"]),
        math.prod(b.shape[k] for k in order["p"]),
    )
    counts = (len(a_batch), len(a_sum))
    return Dot(a, b, left, right, counts, dims, tuple(result), chain, precision)


def convolution(
    a: Array, b: Array, params: dict[str, Any], chain: tuple[View, ...]
) -> Convolution:
    """Return the product `lax.conv_general_dilated(a, b)`, seen through views."""
    a, b = _alike(a, b)
    numbers = params["dimension_numbers"]
    features, batches = params["feature_group_count"], params["batch_group_count"]
    n = features * batches
    positions = [b.shape[axis] for axis in numbers.rhs_spec[2:]]
    channels = a.shape[numbers.lhs_spec[0]] // batches
    p = b.shape[numbers.rhs_spec[0]] // n
    window = (
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
    )
    sizes = [a.shape[axis] for axis in numbers.lhs_spec[2:]]
    offsets = [_offsets(*sides) for sides in zip(sizes, positions, *window, strict=True)]
    t = b.shape[numbers.rhs_spec[1]] * math.prod(positions)
    result = (n, *offsets, channels, p)
    # (n, offset..., channel, p) -> (channel, (n, p), offset...) -> the order of the output
    last = len(result) - 1
    to_spec = Permute((last - 1, 0, last, *range(1, last - 1)))
    merged = (channels, n * p, *offsets)
    permuted = tuple(result[axis] for axis in to_spec.axes)
    to_out = Permute(tuple(int(k) for k in np.argsort(numbers.out_spec)))
    chain = (to_spec, Reshape(permuted, merged), to_out, *chain)
    dims = (n, t, math.prod(offsets) * channels, p)
    axes = (tuple(numbers.lhs_spec), tuple(numbers.rhs_spec))
    groups = (features, batches)
    precision = params["precision"]
    return Convolution(a, b, axes, window, groups, dims, result, chain, precision)


def unfold(term: Product, block: Array, lead: int = 0) -> Array:
    """Give a block (..., N, d, p), with `lead` axes in front, the parameter's shape."""
    block = block.reshape(*block.shape[:lead], *term.result)
    return views.apply(term.views, block, lead)


def fold(term: Product, v: Array, lead: int = 0) -> Array:
    """Give an array of the parameter's shape the shape (..., N, d, p)."""
    n, _, d, p = term.dims
    v = views.undo(term.views, v, lead)
    return v.reshape(*v.shape[:lead], n, d, p)


def weighted(a: Array, b: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return both batched factors, the smaller one times the weights of the examples."""
    if weights is None:
        return a, b
    dtype = wide(a.dtype)
    a, b = a.astype(dtype), b.astype(dtype)
    if a.size < b.size:
        return scaled(a, weights), b
    return a, scaled(b, weights)


def scaled(x: Array, weights: Array) -> Array:
    """Return wᵢ xᵢ."""
    return x * weights.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def wider(*dtypes: Any) -> Any:
    """Return the floating dtype with most bits, the first of several."""
    floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return max(floating, key=lambda dtype: jnp.dtype(dtype).itemsize)


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Return operands of one dtype: JAX multiplies bfloat16 or integers by float32."""
    if a.dtype == b.dtype:
        return a, b
    dtype = wide(wider(a.dtype, b.dtype))
    return a.astype(dtype), b.astype(dtype)


def merge(x: Array, axis: int) -> Array:
    """Merge the leading axis of a batch into the axis `axis` of its examples."""
    x = jnp.moveaxis(x, 0, axis)
    merged = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], merged, *x.shape[axis + 2 :])


def _offsets(
    size: int, taps: int, stride: int, padding: Sequence[int], dilation: int, step: int
) -> int:
    """Return the number of positions that a window of `taps` takes."""
    padded = max(size - 1, 0) * dilation + 1 + sum(padding)
    return max((padded - (taps - 1) * step - 1) // stride + 1, 0)


def _windows(
    x: Array, axis: int, offsets: int, stride: int, positions: int, step: int
) -> Array:
    """Make of an axis one of positions, and at the end one of offsets."""
    if offsets <= positions:
        span = (positions - 1) * step + 1
        starts = [offset * stride for offset in range(offsets)]
        pieces = [lax.slice_in_dim(x, s, s + span, step, axis) for s in starts]
        return jnp.stack(pieces, -1)
    span = (offsets - 1) * stride + 1
    starts = [position * step for position in range(positions)]
    pieces = [lax.slice_in_dim(x, s, s + span, stride, axis) for s in starts]
    return jnp.moveaxis(jnp.stack(pieces, axis), axis + 1, -1)
