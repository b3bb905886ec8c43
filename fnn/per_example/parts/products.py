"""Products g = Aᵀ G that are kept as their operands.

Each is written for one example, as an equation of the gradient of one example forms it.
Its canonical factors are A, (N, T, d), and G, (N, T, p), and g[n] = Σₜ A[n, t]ᵀ G[n, t]:
T is what is summed over (positions, pixels), N what is not shared (heads, groups).
"""

import abc
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.per_example.parts import norms, views
from fnn.per_example.parts.views import Permute, View
from fnn.types import Array, Shape, wide

STATIC = {"static": True}  # of a field that is no array but part of the structure


@dataclasses.dataclass(frozen=True)
class Product(abc.ABC):
    """The gradient that an equation forms of operands a and b."""

    a: Array
    b: Array
    dims: tuple[int, int, int, int] = dataclasses.field(metadata=STATIC)  # N, T, d, p
    result: Shape = dataclasses.field(metadata=STATIC)  # (N..., d..., p...)
    views: tuple[View, ...] = dataclasses.field(
        metadata=STATIC
    )  # from `result` to the parameter
    precision: Any = dataclasses.field(metadata=STATIC)

    @abc.abstractmethod
    def factors(self) -> tuple[Array, Array]:
        """Return A and G of one example."""

    @abc.abstractmethod
    def total(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, in the shape of the parameter."""

    def block(self, precision: Any) -> Array:
        """Return g of one example, (N, d, p)."""
        return norms.product(*self.factors(), precision)

    def copied(self) -> int:
        """Return how many numbers of an example `block` copies before it multiplies."""
        return 0

    def layout(self) -> Any:
        """Return what uses of a parameter share that are one product, end to end."""
        return (self.result, self.views, (self.dims[0], *self.dims[2:]))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dot(Product):
    """The result of `lax.dot_general`: `left` lists the axes N, T, d of a, `right` of b."""

    left: tuple[int, ...] = dataclasses.field(metadata=STATIC)
    right: tuple[int, ...] = dataclasses.field(metadata=STATIC)
    counts: tuple[int, int] = dataclasses.field(
        metadata=STATIC
    )  # how many of the axes are N, and how many T

    def factors(self) -> tuple[Array, Array]:
        n, t, d, p = self.dims
        a = self.a.transpose(self.left).reshape(n, t, d)
        return a, self.b.transpose(self.right).reshape(n, t, p)

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
    a, b = alike(a, b)
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
    return Dot(a, b, dims, tuple(result), chain, precision, left, right, counts)


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


def alike(a: Array, b: Array) -> tuple[Array, Array]:
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
