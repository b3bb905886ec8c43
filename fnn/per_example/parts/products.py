"""The parts of a gradient that are arrays or matrix products.

A product is written for one example, as an equation of that example's gradient forms it.
Its factors are A, (N, T, d), and G, (N, T, p), and g[n] = Σₜ A[n, t]ᵀ G[n, t]. T is summed
over (positions, pixels); each of the N (heads, groups) has a matrix of its own.
"""

import abc
import dataclasses
import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.per_example.parts import norms, views
from fnn.per_example.parts.norms import Cost, SquaredNorm
from fnn.per_example.parts.views import Permute, View
from fnn.types import Array, Shape, wide

STATIC = {"static": True}  # metadata of a field that is part of the tree's structure


class Part(abc.ABC):
    """A summand of the gradient of a parameter, for one example.

    Its arrays may have a leading axis of examples. Then it stands for a batch, and the
    methods that begin with `batch_` work on it; the others work on one example, in `vmap`.
    What the structure alone decides (`rule`, `kept`, `layout`, ...) may be asked of either.
    """

    @property
    @abc.abstractmethod
    def rule(self) -> str:
        """Return the rule by which its norm is computed."""

    @abc.abstractmethod
    def formed(self) -> Array:
        """Return g as an array, in the shape of the parameter."""

    @abc.abstractmethod
    def squared_norm(self) -> SquaredNorm:
        """Return ‖g‖², ()."""

    @abc.abstractmethod
    def inner(self, v: Array) -> Array:
        """Return ⟨g, v⟩, ()."""

    @abc.abstractmethod
    def batch_sum(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, in the shape of the parameter."""

    @abc.abstractmethod
    def batch_cost(self, itemsize: int) -> Cost:
        """Return the cost of `squared_norm` for each example of a batch."""

    def squares(self) -> Array:
        """Return g², element by element, in the shape of the parameter."""
        return jnp.square(self.formed())

    def kept(self) -> int:
        """Return how many numbers the factors of one example hold (patches unfolded)."""
        return 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Formed(Part):
    """A gradient that is kept as an array, in the shape of the parameter."""

    value: Array

    @property
    def rule(self) -> str:
        return "formed"

    def formed(self) -> Array:
        return self.value.astype(wide(self.value.dtype))

    def squared_norm(self) -> SquaredNorm:
        return norms.of_array(self.formed())

    def inner(self, v: Array) -> Array:
        value = self.formed()
        return jnp.sum(value * v.astype(value.dtype))

    def batch_sum(self, weights: Array | None) -> Array:
        value = self.formed()
        if weights is None:
            return jnp.sum(value, 0)
        weights = weights.astype(value.dtype)
        return jnp.tensordot(weights, value, 1, precision=norms.HIGHEST)

    def batch_cost(self, itemsize: int) -> Cost:
        return Cost(2 * math.prod(self.value.shape[1:]), 0)


@dataclasses.dataclass(frozen=True)
class Product(abc.ABC):
    """One use of a parameter: the gradient that an equation forms of operands a and b.

    Attributes:
        a: One operand of the equation, in the equation's layout.
        b: The other operand.
        dims: N, T, d and p of the factors.
        result: The shape (N..., d..., p...) of g before `views`.
        views: The rearrangements from `result` to the parameter.
        precision: The precision with which the equation multiplies.
    """

    a: Array
    b: Array
    dims: tuple[int, int, int, int] = dataclasses.field(metadata=STATIC)
    result: Shape = dataclasses.field(metadata=STATIC)
    views: tuple[View, ...] = dataclasses.field(metadata=STATIC)
    precision: Any = dataclasses.field(metadata=STATIC)

    @abc.abstractmethod
    def factors(self) -> tuple[Array, Array]:
        """Return A, (N, T, d), and G, (N, T, p)."""

    @abc.abstractmethod
    def batch_sum(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, in the shape of the parameter."""

    def matrices(self, precision: Any) -> Array:
        """Return g as N matrices, (N, d, p)."""
        return norms.multiply(*self.factors(), precision)

    def copied(self) -> int:
        """Return how many numbers of one example `matrices` copies before it multiplies."""
        return 0

    def layout(self) -> Any:
        """Return what two uses must share to be one product, with their T end to end."""
        return (self.result, self.views, (self.dims[0], *self.dims[2:]))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dot(Product):
    """The result of `lax.dot_general(a, b)`.

    Attributes:
        left: The axes of a in the order N..., T..., d...
        right: The axes of b in the order N..., T..., p...
        counts: How many of these axes are N, and how many T.
    """

    left: tuple[int, ...] = dataclasses.field(metadata=STATIC)
    right: tuple[int, ...] = dataclasses.field(metadata=STATIC)
    counts: tuple[int, int] = dataclasses.field(metadata=STATIC)

    def factors(self) -> tuple[Array, Array]:
        n, t, d, p = self.dims
        a = self.a.transpose(self.left).reshape(n, t, d)
        return a, self.b.transpose(self.right).reshape(n, t, p)

    def batch_sum(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ by one product, which sums over i and t."""
        batch, contract = self.counts
        a, b = weighted(self.a, self.b, weights)
        # The axes as above, one further to the right: axis 0 is that of the examples.
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
        # `dot_general` returns the free axes of an operand in the operand's own order. The
        # rank of each in that order is its place in `result`: free axes (3, 1) of a come
        # out as (1, 3), and are transposed by (1, 0).
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

    Where the views only permute, the factors are put in the order of the parameter's axes,
    so that the parameter's first axis belongs to d. Then two uses of one parameter have the
    same layout, transposed or not, and their T can be put end to end.

    For y = x @ w, with x (T, 3) and w (3, 2), JAX forms the gradient of w by

        c: f32[2,3] = dot_general[dimension_numbers=(([0], [0]), ([], []))] dy x
        d: f32[3,2] = transpose[permutation=(1, 0)] c

    The axes of c are ("d", axis 1 of dy) and ("p", axis 1 of x). Through the permutation,
    the parameter's are ("p", ...), ("d", ...). As the first must be a "d", the operands are
    exchanged: A = x, (1, T, 3), G = dy, (1, T, 2), and nothing is left to permute.
    """
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    a, b = alike(a, b)
    a_free = [k for k in range(a.ndim) if k not in (*a_sum, *a_batch)]
    b_free = [k for k in range(b.ndim) if k not in (*b_sum, *b_batch)]
    # The axes of the result: kind, and for "n" its place in a_batch, for "d" the axis of a,
    # for "p" the axis of b.
    axes = [("n", k) for k in range(len(a_batch))]
    axes += [("d", k) for k in a_free] + [("p", k) for k in b_free]
    if (moved := views.permutation(chain, len(axes))) is not None:
        axes = [axes[k] for k in moved]  # now those of the parameter
        if next((kind for kind, _ in axes if kind != "n"), "d") == "p":
            swap = {"n": "n", "d": "p", "p": "d"}
            axes = [(swap[kind], k) for kind, k in axes]
            a, b, a_sum, b_sum, a_batch, b_batch = b, a, b_sum, a_sum, b_batch, a_batch
        order = {kind: [k for name, k in axes if name == kind] for kind in "ndp"}
        # The parameter's axes in the order N..., d..., p...; the view undoes it.
        kinds = sorted(range(len(axes)), key=lambda i: ("ndp".index(axes[i][0]), i))
        chain = (Permute(views.inverse(kinds)),)
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ProductSum(Part):
    """The sum of products of one layout: one product, with their T end to end.

    It has a product for each use of the parameter, most often one.
    """

    products: tuple[Product, ...]

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """Return N, T, d, p."""
        n, _, d, p = self.products[0].dims
        return n, sum(product.dims[1] for product in self.products), d, p

    @property
    def rule(self) -> str:
        return norms.cheapest(*self.dims)

    def factors(self) -> tuple[Array, Array]:
        """Return A, (N, T, d), and G, (N, T, p)."""
        a, g = zip(*(product.factors() for product in self.products), strict=True)
        return jnp.concatenate(a, 1), jnp.concatenate(g, 1)

    def formed(self) -> Array:
        each = [unfold(use, use.matrices(use.precision)) for use in self.products]
        return functools.reduce(operator.add, each)

    def squared_norm(self) -> SquaredNorm:
        if self.rule == "direct" and len(self.products) == 1:
            return norms.of_array(self.products[0].matrices(norms.HIGHEST))
        return norms.RULES[self.rule](*self.factors())

    def inner(self, v: Array) -> Array:
        a, g = (x.astype(wide(x.dtype)) for x in self.factors())
        v = fold(self.products[0], v.astype(a.dtype))
        return jnp.sum(jnp.matmul(a, v, precision=norms.HIGHEST) * g)

    def batch_sum(self, weights: Array | None) -> Array:
        each = [product.batch_sum(weights) for product in self.products]
        return functools.reduce(operator.add, each)

    def batch_sum_of_squares(self) -> Array:
        """Return Σᵢ gᵢ² of a batch where T is 1: a product of the squared factors."""
        a, g = (jnp.square(x) for x in self._batch_factors())
        matrices = jnp.einsum("bntd,bntp->ndp", a, g, precision=norms.HIGHEST)
        return unfold(self.products[0], matrices)

    def batch_gram(self, other: "ProductSum") -> Array:
        """Return ⟨gᵢ, hⱼ⟩ of two batches of one layout where T is 1, (B, B')."""
        a, g = (
            jnp.einsum("bntd,cntd->bcn", x, y, precision=norms.HIGHEST)
            for x, y in zip(self._batch_factors(), other._batch_factors(), strict=True)
        )
        return jnp.sum(a * g, -1)

    def has_batch_gram(self, other: "ProductSum") -> bool:
        """Return whether both are of one layout, and T is 1."""
        same = bool(self.products[0].layout() == other.products[0].layout())
        return same and self.rule == other.rule == "rank one"

    def batch_cost(self, itemsize: int) -> Cost:
        flops, numbers = norms.costs(*self.dims)[self.rule]
        return Cost(flops, itemsize * (numbers + self.copied()))

    def kept(self) -> int:
        n, t, d, p = self.dims
        return n * t * (d + p)

    def copied(self) -> int:
        """Return how many numbers of one example are copied to multiply them."""
        return sum(product.copied() for product in self.products)

    def _batch_factors(self) -> tuple[Array, Array]:
        a, g = jax.vmap(lambda part: part.factors())(self)
        return a.astype(wide(a.dtype)), g.astype(wide(g.dtype))


def unfold(product: Product, matrices: Array, lead: int = 0) -> Array:
    """Give matrices (..., N, d, p), with `lead` axes in front, the parameter's shape."""
    result = matrices.reshape(*matrices.shape[:lead], *product.result)
    return views.apply(product.views, result, lead)


def fold(product: Product, v: Array, lead: int = 0) -> Array:
    """Give an array of the parameter's shape the shape (..., N, d, p)."""
    n, _, d, p = product.dims
    v = views.undo(product.views, v, lead)
    return v.reshape(*v.shape[:lead], n, d, p)


def weighted(a: Array, b: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return both operands of a batch, the smaller one times the examples' weights."""
    if weights is None:
        return a, b
    dtype = wide(a.dtype)
    a, b = a.astype(dtype), b.astype(dtype)
    if a.size < b.size:
        return times_weights(a, weights), b
    return a, times_weights(b, weights)


def times_weights(x: Array, weights: Array) -> Array:
    """Return wᵢ xᵢ for x (B, ...) and weights (B,)."""
    return x * weights.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def wider(*dtypes: Any) -> Any:
    """Return the floating dtype with most bits, the first of several."""
    floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return max(floating, key=lambda dtype: jnp.dtype(dtype).itemsize)


def alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Return operands of one dtype: JAX can multiply bfloat16 or integers by float32."""
    if a.dtype == b.dtype:
        return a, b
    dtype = wide(wider(a.dtype, b.dtype))
    return a.astype(dtype), b.astype(dtype)


def merge(x: Array, axis: int) -> Array:
    """Merge the leading axis of a batch into the axis `axis` of its examples.

    For axis 1, (B, h, w, c) becomes (h, B w, c).
    """
    x = jnp.moveaxis(x, 0, axis)
    merged = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], merged, *x.shape[axis + 2 :])
