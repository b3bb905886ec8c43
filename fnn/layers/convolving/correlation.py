"""The convolution of one example, in the form that trains fastest.

The measurements behind the choices are in `benchmarks/README.md`, "What is chosen" and the
list before it; `python -m benchmarks convolution` repeats them for single layers.
"""

import functools
import math
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from fnn.layers.convolving.depthwise import convolve_channels
from fnn.layers.convolving.transposing import tangent_by
from fnn.layers.convolving.windows import Steps, Window
from fnn.platforms import target, traced_once
from fnn.types import Array

Form: TypeAlias = Literal["native", "ordered", "patches", "shifts"]

# Blocks of positions gain nothing with more channels or features than this, nor with this
# many of both. With fewer they do: LeNet's first layer, at batch 128, took 2 to 3 ms
# instead of 8 (`benchmarks training`).
BLOCKED_CHANNELS = 16
# Positions in a block: the first of these that divides the axis. Four suit LeNet's first
# layer; two more than halve the time for the gradient of its second layer's input.
BLOCKS = (4, 2)
# XLA on the CPU gathers this many channels at once if the number divides them, else one by
# one. With rows of the window as channels, LeNet's first layer took 1 to 2 ms instead of 2
# to 3.
GATHERED_CHANNELS = 8


def convolve(
    x: Array, kernel: Array, window: Window, groups: int, form: Form | None = None
) -> Array:
    """Return Σₖ Σ_c K[k, c, f] x[stride · i + dilation · k, c], for one example.

    All forms compute the same:

    - `"native"` is XLA's own convolution. On the CPU, XLA computes its gradients naively
      inside a loop and for groups.
    - `"ordered"` is one XLA convolution for each group, with gradients that XLA computes
      fast in both cases.
    - `"patches"` is one matrix product for each group, of the patches under the window.
    - `"shifts"` is a sum over the window's elements, for groups of one channel.

    Args:
        x: One example, (spatial..., channels).
        kernel: The kernel, (window..., channels / groups, features).
        window: The window on the spatial axes of x.
        groups: The number of groups of channels and features.
        form: By default the fastest.
    """
    form = form or fastest(kernel, groups)
    if form == "native":
        return _correlate(x[None], kernel, window.forward(), groups)[0]
    if form == "shifts":
        return convolve_channels(x, kernel, window)
    if groups > 1:
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolve(*p, window, 1, form) for p in parts], axis=-1)
    if form == "ordered":
        return _ordered_once(x, kernel, window)
    # (spatial..., C) to (positions..., window · C), by a matrix (window · C, features).
    patches = jnp.concatenate(list(window.shifts(x)), axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]))


def fastest(kernel: Array, groups: int) -> Form:
    """Return the form that trains fastest on the platform, by `benchmarks convolution`."""
    if target() != "cpu":
        return "native"
    if groups > 1 and kernel.shape[-2] == 1:
        return "shifts"
    # For a 1x1 window the patches are x itself: nothing is copied.
    return "patches" if math.prod(kernel.shape[:-2]) == 1 else "ordered"


def _product(x: Array, kernel: Array) -> Array:
    """Return x K, as a convolution without spatial axes.

    Positions and examples share one axis, (N · positions, C), so XLA on the CPU forms the
    kernel's gradient as one sum. To sum over several axes, it would first transpose the
    cotangent.
    """
    positions, names = x.reshape(-1, x.shape[-1]), ("NC", "IO", "NC")
    y = jax.lax.conv_general_dilated(positions, kernel, (), (), dimension_numbers=names)
    return y.reshape(*x.shape[:-1], -1)


def _correlate(x: Array, kernel: Array, steps: Steps, groups: int = 1) -> Array:
    """Convolve a batch, (N, spatial..., C) with (window..., C / groups, F), by XLA."""
    space = "DHW"[2 - kernel.ndim :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=steps.stride,
        padding=steps.padding,
        lhs_dilation=steps.lhs_dilation,
        rhs_dilation=steps.rhs_dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _ordered(x: Array, kernel: Array, window: Window) -> Array:
    """Convolve one example; the gradients are convolutions with axes in order, too.

    The axes of JAX's own gradients are permuted, which XLA on the CPU mends outside of
    loops only (`benchmarks convolution`, 3x3, 16 to 16 channels in a loop: 33 times
    slower).
    """
    return _correlate_blocks(x[None], kernel, window.forward())[0]


def _ordered_jvp(window: Window, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Return y and its tangent, by the two gradients of one example.

    For an image, x is (H, W, C), K (k, l, C, F), and y and its cotangent g (h, w, F).
    """
    x, kernel = _computed_once(primals[0]), primals[1]
    y = _ordered(x, kernel, window)
    spatial = x.shape[:-1]

    def input_gradient(g: Array) -> Array:
        """Return Σₖ Σ_f K[k, c, f] g[(i - dilation · k) / stride, f], (H, W, C)."""
        # K flipped in space, and (k, l, C, F) to (k, l, F, C): g's features are summed.
        turned = jnp.flip(kernel, tuple(range(len(spatial)))).swapaxes(-1, -2)
        return _correlate_blocks(g[None], turned, window.input_gradient(spatial))[0]

    def kernel_gradient(g: Array) -> Array:
        """Return Σᵢ x[stride · i + dilation · k, c] g[i, f], (k, l, C, F)."""
        # The sum is over positions. So x's channels become a batch, (C, H, W, 1), and g a
        # kernel as large as the output, (h, w, 1, F): the result is (C, k, l, F).
        channels, weights = jnp.moveaxis(x, -1, 0)[..., None], g[..., None, :]
        grad = _correlate(channels, weights, window.kernel_gradient(spatial))
        return jnp.moveaxis(grad, 0, -2)

    return y, tangent_by((input_gradient, kernel_gradient), y, tangents)


_ordered.defjvp(_ordered_jvp, symbolic_zeros=True)
_ordered_once = traced_once(static=2)(_ordered)


def _correlate_blocks(x: Array, kernel: Array, steps: Steps) -> Array:
    """Convolve a batch, a block of neighbours along the last spatial axis at a time.

    XLA on the CPU gathers the inputs under the window at each position. With few channels
    that takes longer than to multiply them by a kernel of few features, and a block of
    positions meets hardly more inputs than one. So the block's positions become features,
    each with its own shift of the kernel:

        x (N, H, W, C), kernel (k, l, C, F)               to  y (N, H, W', F)
        x (N, H, W, C), shifts (k, l + b - 1, C, b · F)   to  y (N, H, W' / b, b · F)
    """
    *_, size, channels, features = kernel.shape
    low, high = steps.padding[-1]
    positions = x.shape[-2] + low + high - size + 1
    apart = max(steps.stride[-1], steps.lhs_dilation[-1], steps.rhs_dilation[-1]) > 1
    block = 1 if apart else _block(channels, features, positions)
    if block == 1:
        return _correlate(x, kernel, steps)
    around = [(0, 0)] * (kernel.ndim - 3)
    # Position j of the block sees j elements less at its start, b - 1 - j at its end.
    zeros = [(*around, (j, block - 1 - j), (0, 0), (0, 0)) for j in range(block)]
    shifts = jnp.concatenate([jnp.pad(kernel, zero) for zero in zeros], axis=-1)
    width = shifts.shape[-3]
    by_rows = channels % GATHERED_CHANNELS and channels * width % GATHERED_CHANNELS == 0
    if by_rows:
        x, shifts = _rows(x, shifts, block, steps.padding[-1])
        stride, pair = 1, (0, 0)  # along the last axis: `_rows` has slid along it
    else:
        stride, pair = block, steps.padding[-1]
    steps = steps._replace(
        stride=(*steps.stride[:-1], stride), padding=(*steps.padding[:-1], pair)
    )
    y = _correlate(x, shifts, steps)
    return y.reshape(*y.shape[:-2], positions, features)


def _rows(
    x: Array, kernel: Array, stride: int, padding: tuple[int, int]
) -> tuple[Array, Array]:
    """Make channels of the inputs under the window along the last spatial axis.

    x (N, H, W, C) becomes (N, H, W', l · C), kernel (k, l, C, F) becomes (k, 1, l · C, F).
    """
    *_, width, channels, features = kernel.shape
    # The batch axis of x is one more axis along which the window is a point.
    point, nothing = (1,) * (x.ndim - 2), ((0, 0),) * (x.ndim - 2)
    row = Window((*point, width), (*point, stride), (*point, 1), (*nothing, padding))
    gathered = jnp.concatenate(list(row.shifts(x)), axis=-1)
    return gathered, kernel.reshape(*kernel.shape[:-3], 1, width * channels, features)


def _block(channels: int, features: int, positions: int) -> int:
    """Return how many positions of an axis to convolve at a time."""
    most, least = max(channels, features), min(channels, features)
    if least >= BLOCKED_CHANNELS or most > BLOCKED_CHANNELS:
        return 1
    return next((block for block in BLOCKS if positions % block == 0), 1)


def _computed_once(x: Array) -> Array:
    """Return x, such that XLA on the CPU computes it once, however many use it.

    XLA repeats operations on a single array wherever their result is used. For the
    gradient of a kernel it repeats them inside a transposition, against the grain of
    memory, back through all residual sums (`benchmarks training`, ResNet-20: a third of
    the step). It does not repeat a select between two arrays; `lax.optimization_barrier`
    does not help, because XLA drops it before it fuses.
    """
    return jnp.where(jnp.isnan(x), jnp.nan, x)
