"""Convolutions of each channel by itself, as sums over the elements of the window."""

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp

from fnn.layers.convolving.transposing import tangent_by
from fnn.layers.convolving.windows import Window
from fnn.platforms import traced_once
from fnn.types import Array, Shape, wide

# The kernel's gradient sums the products of this many elements of an example at a time, few
# enough to stay in the caches. For 3x3 over (32, 32, 32, 96), forward and backward passes
# went from 85 ms and 122 MiB to 31 ms and 39 MiB ("What is chosen" in
# `benchmarks/README.md`).
BLOCK_ELEMENTS = 2**13


def convolve_channels(x: Array, kernel: Array, window: Window) -> Array:
    """Return Σₖ K[k, 0, f] x[stride · i + dilation · k, c], c being f // multiplier."""
    features, precise = kernel.shape[-1], wide(x.dtype)
    each = jnp.repeat(x, features // x.shape[-1], axis=-1)
    weights = kernel.reshape(*window.size, features)
    return _sums_once(each.astype(precise), weights.astype(precise), window).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _sums(x: Array, kernel: Array, window: Window) -> Array:
    """Return Σₖ K[k, c] x[stride · i + dilation · k, c], with gradients of the same kind.

    JAX's own gradient of x adds up padded products, for each of which XLA on the CPU
    computes the cotangent anew. Its gradient of the kernel reads all of x and of the
    cotangent once for each element of the window.
    """
    # (window..., C) to (window, 1..., C), to multiply shifts of x, (positions..., C).
    weights = kernel.reshape(-1, *(1,) * len(window.size), kernel.shape[-1])
    return functools.reduce(operator.add, map(operator.mul, window.shifts(x), weights))


def _sums_jvp(window: Window, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, kernel = primals
    y = _sums(x, kernel, window)
    gradients = (
        functools.partial(_input_gradient, kernel, window, x.shape[:-1]),
        functools.partial(_kernel_gradient, x, window),
    )
    return y, tangent_by(gradients, y, tangents)


_sums.defjvp(_sums_jvp, symbolic_zeros=True)
_sums_once = traced_once(static=2)(_sums)


def _input_gradient(kernel: Array, window: Window, spatial: Shape, g: Array) -> Array:
    """Return Σₖ K[k, c] g[(i - dilation · k) / stride, c], where g has such an element."""
    stride, padding, lhs_dilation, rhs_dilation = window.input_gradient(spatial)
    around = Window(window.size, stride, rhs_dilation, padding)
    turned = jnp.flip(kernel, tuple(range(len(window.size))))
    return _sums(around.pad(g, lhs_dilation=lhs_dilation), turned, around.inside())


def _kernel_gradient(x: Array, window: Window, g: Array) -> Array:
    """Return Σᵢ x[stride · i + dilation · k, c] g[i, c], a block of rows of g at a time.

    For an image, g (h, w, C) is split into (h / rows, rows, w, C). The windows of a block
    meet `reach` rows of x, and those of the next block begin `step` rows below. For
    example, 2 rows of windows of 3, with stride 1, meet 4 rows, and the next begin 2 below.
    """
    whole, inside = window.pad(x), window.inside()
    rows = _rows(g.shape)
    step = rows * window.stride[0]
    reach = window.extent[0] + step - window.stride[0]
    starts = jnp.arange(0, g.shape[0] // rows) * step

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        start, g = at
        met = inside.shifts(jax.lax.dynamic_slice_in_dim(whole, start, reach))
        positions = tuple(range(g.ndim - 1))
        return total + jnp.stack([(z * g).sum(positions) for z in met]), None

    nothing = jnp.zeros((math.prod(window.size), x.shape[-1]), x.dtype)
    blocks = g.reshape(-1, rows, *g.shape[1:])
    total, _ = jax.lax.scan(add, nothing, (starts, blocks))
    return total.reshape(*window.size, x.shape[-1])


def _rows(shape: Shape) -> int:
    """Return how many rows to take at a time: the most that fit a block and divide all."""
    fitting = max(1, BLOCK_ELEMENTS // math.prod(shape[1:]))
    return next(n for n in range(min(fitting, shape[0]), 0, -1) if shape[0] % n == 0)
