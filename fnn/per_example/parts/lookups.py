"""Gradients of tables of which an example reads some rows, kept as ids and cotangents."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.per_example.parts import norms, views
from fnn.per_example.parts.base import Outer, Part
from fnn.per_example.parts.norms import Cost, Scaled
from fnn.per_example.parts.products import STATIC, scaled
from fnn.per_example.parts.views import Permute, View
from fnn.types import Array, Shape, wide

# Up to so many ids, comparing all pairs is cheaper than sorting and adding in a loop.
PAIRS = 256


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lookup(Part):
    """g[v] = Σ of the rows u[t] with id[t] = v; an id that is no row's counts nowhere."""

    ids: Array  # (T,)
    rows: Array  # (T, p)
    dims: tuple[int, int, int] = dataclasses.field(
        metadata=STATIC
    )  # rows of the table, T, p
    result: Shape = dataclasses.field(metadata=STATIC)  # (rows..., p...)
    views: tuple[View, ...] = dataclasses.field(metadata=STATIC)

    @property
    def form(self) -> str:
        return "lookup"

    def layout(self) -> Any:
        """Return what lookups share that are in one table."""
        return (self.result, self.views, self.dims[0])

    def each(self) -> Array:
        """Return the rows u, (T, p), 0 where an id is no row's."""
        return self.rows

    def dense(self) -> Array:
        return self.unfold(self._scatter(self.ids, self.each()))

    def unfold(self, table: Array) -> Array:
        """Give a table (V, p) the parameter's shape."""
        return views.apply(self.views, table.reshape(self.result))

    def fold(self, v: Array) -> Array:
        """Give an array of the parameter's shape the shape (V, p)."""
        vocabulary, _, p = self.dims
        return views.undo(self.views, v).reshape(vocabulary, p)

    def squared_norm(self) -> Scaled:
        rows, scale = norms.normalized(self.rows)
        _, sums, shares = _distinct(self.ids, rows)
        return Scaled(jnp.sum(shares * jnp.sum(jnp.square(sums), -1)), scale)

    def squares(self) -> Array:
        ids, sums, shares = _distinct(self.ids, self.each())
        return self.unfold(self._scatter(ids, shares[:, None] * jnp.square(sums)))

    def inner(self, v: Array) -> Array:
        return jnp.sum(self.read(self.fold(v)) * self.each().astype(wide(self.rows.dtype)))

    def read(self, table: Array) -> Array:
        """Return the rows of a table at the ids, 0 where an id is no row's."""
        read = table.at[self.ids].get(mode="fill", fill_value=0)
        return read.astype(wide(self.rows.dtype))

    def pair(self, other: "Lookup") -> Array:
        """Return ⟨g, h⟩ = Σ over pairs of equal ids of ⟨u[t], u'[s]⟩."""
        dtype = wide(self.rows.dtype)
        equal = (self.ids[:, None] == other.ids[None]).astype(dtype)
        rows, others = self.each().astype(dtype), other.each().astype(dtype)
        return jnp.sum(equal * _product(rows, others.T))

    def total(self, weights: Array | None) -> Array:
        rows = jax.vmap(lambda one: one.each())(self).astype(wide(self.rows.dtype))
        rows = rows if weights is None else scaled(rows, weights)
        _, t, p = self.dims
        count = self.ids.shape[0] * t
        ids, rows = self.ids.reshape(count), rows.reshape(count, p)
        return self.unfold(self._scatter(ids, rows))

    def cost(self, itemsize: int) -> Cost:
        _, t, p = self.dims
        pairs = _compared(t)
        return Cost(2 * t * p * (pairs + 1), itemsize * t * (pairs + p))

    def _scatter(self, ids: Array, rows: Array) -> Array:
        vocabulary, _, p = self.dims
        table = jnp.zeros((vocabulary, p), wide(rows.dtype))
        return table.at[ids].add(rows.astype(table.dtype), mode="drop")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pooled(Lookup):
    """g[v] = n[v] u, v being n[v] times among the ids: rows read, and then summed.

    `rows` is u alone, (1, p).
    """

    @property
    def form(self) -> str:
        return "pooled"

    def each(self) -> Array:
        return spread(self.ids, self.rows, self.dims[0])

    def squared_norm(self) -> Scaled:
        row, scale = norms.normalized(self.rows)
        ids, counts = _counted(self.ids)
        pairs = jnp.sum(jnp.where(ids < self.dims[0], counts, 0).astype(row.dtype))
        square = jnp.where(pairs > 0, pairs * jnp.sum(jnp.square(row)), 0)
        return Scaled(square, scale)

    def cost(self, itemsize: int) -> Cost:
        _, t, p = self.dims
        return Cost(2 * (t * _compared(t) + p), itemsize * t * _compared(t))


def spread(ids: Array, row: Array, vocabulary: int) -> Array:
    """Return a row (..., 1, p) at each of the ids (..., T), 0 where an id is no row's."""
    return jnp.where(ids[..., None] < vocabulary, row, jnp.zeros((), row.dtype))


def _compared(t: int) -> int:
    """Return with how many others each of T ids is compared."""
    return t if t <= PAIRS else math.ceil(math.log2(t))


def _counted(ids: Array) -> tuple[Array, Array]:
    """Return the ids, in some order, and how many are equal to each."""
    if ids.shape[0] <= PAIRS:
        return ids, jnp.sum(ids[:, None] == ids[None], -1, dtype=jnp.int32)
    ids = jnp.sort(ids)
    return ids, jnp.searchsorted(ids, ids, side="right") - jnp.searchsorted(ids, ids)


def _distinct(ids: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Return ids, the sum of the rows of each, and what share of it each stands for."""
    rows, t = rows.astype(wide(rows.dtype)), ids.shape[0]
    if t <= PAIRS:
        equal = (ids[:, None] == ids[None]).astype(rows.dtype)
        return ids, _product(equal, rows), 1 / jnp.sum(equal, -1)
    order = jnp.argsort(ids)
    ids, rows = ids[order], rows[order]
    starts = jnp.concatenate([jnp.zeros(1, bool), ids[1:] != ids[:-1]])
    run = jnp.cumsum(starts, dtype=jnp.int32)
    sums = jax.ops.segment_sum(rows, run, t, indices_are_sorted=True)
    first = jax.ops.segment_max(ids, run, t, indices_are_sorted=True)
    return first, sums, jnp.ones(t, rows.dtype)


def canonical(
    indices: Array, updates: Array, shape: Shape, params: dict[str, Any]
) -> tuple[Array, Array]:
    """Return the ids (T,), and the rows (T, p), of one scatter-add into zeros.

    Rows out of range get the id V, the number of rows of the table, and the value 0. If
    `updates` is one row, for all indices, rows are (1, p).
    """
    numbers, table = (
        params["dimension_numbers"],
        params["dimension_numbers"].inserted_window_dims,
    )
    sizes = np.array([shape[k] for k in table], np.int64)
    order = [numbers.scatter_dims_to_operand_dims.index(k) for k in table]
    t = math.prod(indices.shape[:-1])
    if indices.dtype.itemsize < 4:
        indices = indices.astype(jnp.int32)
    indices = indices.reshape(t, len(table))[:, np.array(order)]
    limit = jnp.asarray(sizes - 1, indices.dtype)[None]
    if params["mode"] == lax.GatherScatterMode.CLIP:
        indices = jnp.clip(indices, jnp.zeros_like(limit), limit)
    inside = jnp.all((indices >= 0) & (indices <= limit), -1)
    strides = [math.prod(sizes[k + 1 :].tolist()) for k in range(len(sizes))]
    parts = indices.astype(jnp.int32) * jnp.asarray(strides, jnp.int32)[None]
    ids = jnp.where(inside, jnp.sum(parts, -1, dtype=jnp.int32), math.prod(sizes.tolist()))
    window = numbers.update_window_dims
    if updates.ndim == len(window):
        return ids, updates.reshape(1, updates.size)
    batch = [k for k in range(updates.ndim) if k not in window]
    p = math.prod(updates.shape[k] for k in window)
    rows = updates.transpose(*batch, *window).reshape(t, p)
    return ids, jnp.where(inside[:, None], rows, jnp.zeros((), rows.dtype))


def canonical_slice(
    update: Array, *starts: Array, shape: Shape, axes: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return the id (1,), and the row (1, p), of one slice put into zeros."""
    ids = jnp.zeros((), jnp.int32)
    for axis in axes:
        start = starts[axis]
        start = start.astype(jnp.int32) if start.dtype.itemsize < 4 else start
        ids = ids * shape[axis] + jnp.clip(start, 0, shape[axis] - 1).astype(jnp.int32)
    return ids.reshape(1), update.reshape(1, update.size)


def supported(shape: Shape, updates: Shape, params: dict[str, Any]) -> bool:
    """Return whether a scatter-add adds whole rows, along all axes but those it indexes."""
    numbers = params["dimension_numbers"]
    table, window = numbers.inserted_window_dims, numbers.update_window_dims
    rest = [shape[k] for k in range(len(shape)) if k not in table]
    return (
        not numbers.operand_batching_dims
        and sorted(numbers.scatter_dims_to_operand_dims) == sorted(table)
        and [updates[k] for k in window] == rest
        and math.prod(shape) < 2**31
        and math.prod(rest) > 0
    )


def lookup(
    ids: Array, rows: Array, shape: Shape, table: tuple[int, ...], chain: tuple[View, ...]
) -> Lookup:
    """Return the gradient of a parameter of which the axes `table` are looked up."""
    rest = tuple(k for k in range(len(shape)) if k not in table)
    order = (*table, *rest)
    back = Permute(tuple(int(k) for k in np.argsort(order)))
    axes = views.permutation((back, *chain), len(shape))
    chain = (back, *chain) if axes is None else (Permute(axes),)
    result = tuple(shape[k] for k in order)
    vocabulary = math.prod(shape[k] for k in table)
    dims = (vocabulary, ids.shape[0], rows.shape[1])
    kind = Lookup if rows.shape[0] == ids.shape[0] else Pooled
    return kind(ids, rows, dims, result, chain)


def join(terms: Sequence[Lookup]) -> Lookup:
    """Return several lookups in one table as one."""
    first, *others = terms
    if not others:
        return first
    ids = jnp.concatenate([term.ids for term in terms])
    rows = jnp.concatenate([term.each() for term in terms])
    dims = (first.dims[0], ids.shape[0], first.dims[2])
    return Lookup(ids, rows, dims, first.result, first.views)


def cross(product: Outer, lookup: Lookup) -> tuple[Array, Array]:
    """Return ⟨Aᵀ G, lookup⟩ = Σₜₛ A[t, idₛ] ⟨Gₜ, uₛ⟩, A being (T, V) and G (T, p).

    It is the first number times both scales of the second, of the product and the lookup.
    """
    a, g = product.factors()
    a, g, scale = norms.normalized_factors(a, g)
    rows, over = norms.normalized(lookup.each())
    columns = lookup.read(a[0].T)  # (S, T)
    inner = jnp.sum(columns * _product(rows.astype(columns.dtype), g[0].T))
    return inner, jnp.stack([scale[0], over.astype(scale.dtype)])


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
