"""How convolutions are computed: for one example, by whichever form is fastest."""

import functools
import math
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from fnn.layers.depthwise import convolve_channels
from fnn.layers.transposing import tangent_by
from fnn.layers.windows import Window, span
from fnn.platforms import target, traced_once
from fnn.types import Array

Form: TypeAlias = Literal["native", "ordered", "patches", "shifts"]


def convolve(
    x: Array, kernel: Array, window: Window, groups: int, form: Form | None = None
) -> Array:
    """Return Σₖ Σ_c K[k, c, f] x[stride · i + dilation · k, c], for one example.

    All forms compute the same. `"native"` is XLA's own convolution. On the CPU its
    gradients are hopeless inside a loop, and in groups, which those of `"ordered"`, one
    convolution for each group, are not. `"patches"` is one matrix product for each group,
    of all that the window meets, and `"shifts"`, where groups are of one channel, a sum
    over the window's elements.
    """
    form = form or fastest(kernel, groups)
    if form == "native":
        _, stride, dilation, margins = window
        return _correlate(x[None], kernel, (stride, margins, None, dilation), groups)[0]
    if form == "shifts":
        return convolve_channels(x, kernel, window)
    if groups > 1:
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolve(*p, window, 1, form) for p in parts], axis=-1)
    if form == "ordered":
        return _ordered_once(x, kernel, window)
    patches = jnp.concatenate(list(window.shifts(x)), axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]))


def fastest(kernel: Array, groups: int) -> Form:
    """Return the form that trains fastest on the platform, by `benchmarks`."""
    if target() != "cpu":
        return "native"
    if groups > 1 and kernel.shape[-2] == 1:
        return "shifts"
    # Of a window of one element x itself is the patches, which costs no memory.
    return "patches" if math.prod(kernel.shape[:-2]) == 1 else "ordered"


def _product(x: Array, kernel: Array) -> Array:
    """Return x K, as a convolution without spatial axes.

    Of it the axes of positions and examples are one, over which XLA on the CPU sums for the
    gradient of the kernel. To sum over several, it would first transpose the cotangent.
    """
    positions, names = x.reshape(-1, x.shape[-1]), ("NC", "IO", "NC")
    y = jax.lax.conv_general_dilated(positions, kernel, (), (), dimension_numbers=names)
    return y.reshape(*x.shape[:-1], -1)


def _correlate(
    x: Array, kernel: Array, steps: tuple[Any, Any, Any, Any], groups: int = 1
) -> Array:
    """Convolve a batch by the given stride, padding, and dilations of x and kernel."""
    space = "DHW"[2 - kernel.ndim :]
    names = (f"N{space}C", f"{space}IO", f"N{space}C")
    return jax.lax.conv_general_dilated(x, kernel, *steps, names, groups)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _ordered(x: Array, kernel: Array, window: Window) -> Array:
    """Convolve, so that gradients are convolutions with their axes in order too.

    JAX's own have them permuted, which XLA on the CPU mends outside of loops only.
    """
    _, stride, dilation, margins = window
    point = (1,) * len(stride)
    return _correlate_blocks(x[None], kernel, (stride, margins, point, dilation))[0]


def _ordered_jvp(window: Window, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, kernel = _computed_once(primals[0]), primals[1]
    y = _ordered(x, kernel, window)
    size, stride, dilation, margins = window
    reach, extent = span(size, dilation), span(y.shape[:-1], stride)
    axes = list(zip(x.shape[:-1], reach, extent, margins, strict=True))
    point = (1,) * len(size)

    def input_gradient(g: Array) -> Array:
        steps = (point, window.edges(x.shape[:-1]), stride, dilation)
        turned = jnp.flip(kernel, tuple(range(len(size)))).swapaxes(-1, -2)
        return _correlate_blocks(g[None], turned, steps)[0]

    def kernel_gradient(g: Array) -> Array:
        edges = [(low, r - 1 - n + e - low) for n, r, e, (low, _) in axes]
        channels, weights = jnp.moveaxis(x, -1, 0)[..., None], g[..., None, :]
        grad = _correlate(channels, weights, (dilation, edges, point, stride))
        return jnp.moveaxis(grad, 0, -2)

    return y, tangent_by((input_gradient, kernel_gradient), y, tangents)


_ordered.defjvp(_ordered_jvp, symbolic_zeros=True)
_ordered_once = traced_once(static=2)(_ordered)


def _correlate_blocks(x: Array, kernel: Array, steps: tuple[Any, Any, Any, Any]) -> Array:
    """Convolve a batch, a block of neighbours along the last spatial axis at a time.

    XLA on the CPU gathers what the window meets at each position. Of few channels this
    takes longer than to multiply by a kernel of few features, and what a whole block meets
    is little more. The block's positions are features here, of the shifted kernel.
    """
    stride, edges, spread, dilation = steps
    *_, size, channels, features = kernel.shape
    positions = x.shape[-2] + sum(edges[-1]) - size + 1
    apart = max(stride[-1], spread[-1], dilation[-1]) > 1
    block = 1 if apart else _block(channels, features, positions)
    if block == 1:
        return _correlate(x, kernel, steps)
    around = [(0, 0)] * (kernel.ndim - 3)
    margins = [(*around, (j, block - 1 - j), (0, 0), (0, 0)) for j in range(block)]
    shifts = jnp.concatenate([jnp.pad(kernel, margin) for margin in margins], axis=-1)
    stride = (*stride[:-1], block)
    if channels % 8 and channels * shifts.shape[-3] % 8 == 0:
        x, shifts = _rows(x, block, edges[-1], shifts)
        stride, edges = (*stride[:-1], 1), (*edges[:-1], (0, 0))
    y = _correlate(x, shifts, (stride, edges, spread, dilation))
    return y.reshape(*y.shape[:-2], positions, features)


def _rows(
    x: Array, stride: int, margin: tuple[int, int], kernel: Array
) -> tuple[Array, Array]:
    """Make channels, of x and kernel, of what the window meets along the last spatial axis.

    XLA gathers channels eight by eight if they are so many, but others one by one.
    """
    *_, width, channels, features = kernel.shape
    point, nothing = (1,) * (x.ndim - 2), ((0, 0),) * (x.ndim - 2)
    margins = (*nothing, margin)
    row = Window((*point, width), (*point, stride), (*point, 1), margins)
    gathered = jnp.concatenate(list(row.shifts(x)), axis=-1)
    return gathered, kernel.reshape(*kernel.shape[:-3], 1, width * channels, features)


def _block(channels: int, features: int, positions: int) -> int:
    """Return how many positions of an axis to convolve at a time, by `benchmarks`."""
    if min(channels, features) >= 16 or max(channels, features) > 16:
        return 1
    return next(block for block in (4, 2, 1) if positions % block == 0)


def _computed_once(x: Array) -> Array:
    """Return x, which XLA on the CPU then computes once, whatever uses it.

    It repeats operations on a single array wherever their result is used, such as in the
    transposition for the gradient of a kernel, there against the grain of memory, back
    through all residual sums. A select between two arrays it does not repeat, while
    `lax.optimization_barrier` is gone before it fuses.
    """
    return jnp.where(jnp.isnan(x), jnp.nan, x)
