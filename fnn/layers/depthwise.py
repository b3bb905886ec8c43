"""Convolutions of channels by themselves, as sums over the elements of the window."""

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp

from fnn.layers.transposing import tangent_by
from fnn.layers.windows import Window, span
from fnn.platforms import traced_once
from fnn.types import Array, Shape, wide

BLOCK = 2**13  # elements of an example whose products are summed at a time


def convolve_channels(x: Array, kernel: Array, window: Window) -> Array:
    """Return Σₖ K[k, 0, f] x[stride · i + dilation · k, c], c being f // multiplier."""
    features, precise = kernel.shape[-1], wide(x.dtype)
    each = jnp.repeat(x, features // x.shape[-1], axis=-1)
    weights = kernel.reshape(*window.size, features)
    return _sums_once(each.astype(precise), weights.astype(precise), window).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _sums(x: Array, kernel: Array, window: Window) -> Array:
    """Return Σₖ K[k, c] x[stride · i + dilation · k, c], with gradients of that kind.

    JAX's own gradient of x adds up padded products, for each of which XLA on the CPU
    computes anew what made the cotangent, and that of the kernel reads all of x and of the
    cotangent once for each element of the window.
    """
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
    point = (1,) * len(window.size)
    around = window._replace(stride=point, margins=window.edges(spatial))
    turned = jnp.flip(kernel, tuple(range(len(point))))
    return _sums(around.pad(g, apart=window.stride), turned, around.inside())


def _kernel_gradient(x: Array, window: Window, g: Array) -> Array:
    """Return Σᵢ x[stride · i + dilation · k, c] g[i, c], some rows of g at a time."""
    whole, inside = window.pad(x), window.inside()
    rows = _rows(g.shape)
    step = rows * window.stride[0]
    (first, *_) = span(window.size, window.dilation)
    reach = first + step - window.stride[0]
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
    """Return how many rows of an example to take at a time, which divide all of them."""
    fitting = max(1, BLOCK // math.prod(shape[1:]))
    return next(n for n in range(min(fitting, shape[0]), 0, -1) if shape[0] % n == 0)
