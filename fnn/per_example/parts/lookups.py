"""Parts whose gradient is nonzero in some rows of a table, kept as ids and rows."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn.per_example.parts import norms, views
from fnn.per_example.parts.norms import Cost, SquaredNorm
from fnn.per_example.parts.products import STATIC, Part, ProductSum, times_weights
from fnn.per_example.parts.views import Permute, View
from fnn.types import Array, Shape, wide

# Up to this many ids, comparing all pairs is faster than sorting them: T² comparisons run
# side by side, a sort and a segmented sum one after the other. The suite `per_example` of
# benchmarks has T = 64 (embedding).
PAIRS = 256


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lookup(Part):
    """g[v] = Σ of the rows u[t] with id[t] = v; ids outside of the table are ignored.

    Attributes:
        ids: (T,), from 0 to V - 1; V for an id outside of the table.
        rows: u, (T, p).
        dims: V, T and p, V being the number of rows of the table.
        result: The shape (rows..., p...) of g before `views`.
        views: The rearrangements from `result` to the parameter.
    """

    ids: Array
    rows: Array
    dims: tuple[int, int, int] = dataclasses.field(metadata=STATIC)
    result: Shape = dataclasses.field(metadata=STATIC)
    views: tuple[View, ...] = dataclasses.field(metadata=STATIC)

    @property
    def rule(self) -> str:
        return "lookup"

    def layout(self) -> Any:
        """Return what two lookups must share to be in one table."""
        return (self.result, self.views, self.dims[0])

    def every_row(self) -> Array:
        """Return the rows u, (T, p), 0 for an id outside of the table."""
        return self.rows

    def formed(self) -> Array:
        return self.unfold(self._table(self.ids, self.every_row()))

    def unfold(self, table: Array) -> Array:
        """Give a table (V, p) the parameter's shape."""
        return views.apply(self.views, table.reshape(self.result))

    def fold(self, v: Array) -> Array:
        """Give an array of the parameter's shape the shape (V, p)."""
        vocabulary, _, p = self.dims
        return views.undo(self.views, v).reshape(vocabulary, p)

    def squared_norm(self) -> SquaredNorm:
        rows, scale = norms.normalized(self.rows)
        _, sums, shares = _distinct(self.ids, rows)
        return SquaredNorm(jnp.sum(shares * jnp.sum(jnp.square(sums), -1)), scale)

    def squares(self) -> Array:
        ids, sums, shares = _distinct(self.ids, self.every_row())
        return self.unfold(self._table(ids, shares[:, None] * jnp.square(sums)))

    def inner(self, v: Array) -> Array:
        table = self.fold(v)
        return jnp.sum(self.read(table) * self.every_row().astype(wide(self.rows.dtype)))

    def read(self, table: Array) -> Array:
        """Return the rows of a table at the ids, 0 for an id outside of the table."""
        read = table.at[self.ids].get(mode="fill", fill_value=0)
        return read.astype(wide(self.rows.dtype))

    def dot(self, other: "Lookup") -> Array:
        """Return ⟨g, h⟩ = Σ over pairs of equal ids of ⟨u[t], u'[s]⟩, ()."""
        dtype = wide(self.rows.dtype)
        equal = (self.ids[:, None] == other.ids[None]).astype(dtype)
        rows, others = self.every_row().astype(dtype), other.every_row().astype(dtype)
        return jnp.sum(equal * _matmul(rows, others.T))

    def batch_sum(self, weights: Array | None) -> Array:
        rows = jax.vmap(lambda part: part.every_row())(self).astype(wide(self.rows.dtype))
        rows = rows if weights is None else times_weights(rows, weights)
        _, t, p = self.dims
        count = self.ids.shape[0] * t
        ids, rows = self.ids.reshape(count), rows.reshape(count, p)
        return self.unfold(self._table(ids, rows))

    def batch_cost(self, itemsize: int) -> Cost:
        _, t, p = self.dims
        pairs = _compared(t)
        return Cost(2 * t * p * (pairs + 1), itemsize * t * (pairs + p))

    def _table(self, ids: Array, rows: Array) -> Array:
        """Return the table (V, p) that is the sum of rows at their ids."""
        vocabulary, _, p = self.dims
        table = jnp.zeros((vocabulary, p), wide(rows.dtype))
        return table.at[ids].add(rows.astype(table.dtype), mode="drop")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pooled(Lookup):
    """g[v] = n[v] u, v being n[v] times among the ids: rows that are read and then summed.

    `rows` is u alone, (1, p).
    """

    @property
    def rule(self) -> str:
        return "pooled"

    def every_row(self) -> Array:
        return repeat_row(self.ids, self.rows, self.dims[0])

    def squared_norm(self) -> SquaredNorm:
        row, scale = norms.normalized(self.rows)
        ids, counts = _counted(self.ids)
        # ‖g‖² = |u|² Σᵥ n[v]², and a sum over the ids has n[v] for each of n[v] ids.
        pairs = jnp.sum(jnp.where(ids < self.dims[0], counts, 0).astype(row.dtype))
        square = jnp.where(pairs > 0, pairs * jnp.sum(jnp.square(row)), 0)
        return SquaredNorm(square, scale)

    def batch_cost(self, itemsize: int) -> Cost:
        _, t, p = self.dims
        return Cost(2 * (t * _compared(t) + p), itemsize * t * _compared(t))


def lookup(
    ids: Array, rows: Array, shape: Shape, table: tuple[int, ...], chain: tuple[View, ...]
) -> Lookup:
    """Return the gradient of a parameter of which the axes `table` are looked up.

    Args:
        ids: (T,), numbers of rows; the axes `table` are counted in row-major order.
        rows: (T, p), or (1, p) if all are the same: then it is a `Pooled`.
        shape: The shape of the array that the rows are added into.
        table: The axes of this array that the ids count; the others are p.
        chain: The views from this array to the parameter.
    """
    rest = tuple(k for k in range(len(shape)) if k not in table)
    order = (*table, *rest)
    back = Permute(views.inverse(order))
    axes = views.permutation((back, *chain), len(shape))
    chain = (back, *chain) if axes is None else (Permute(axes),)
    result = tuple(shape[k] for k in order)
    vocabulary = math.prod(shape[k] for k in table)
    dims = (vocabulary, ids.shape[0], rows.shape[1])
    kind = Lookup if rows.shape[0] == ids.shape[0] else Pooled
    return kind(ids, rows, dims, result, chain)


def join(lookups: Sequence[Lookup]) -> Lookup:
    """Return several lookups of one layout as one, with their T end to end."""
    first, *others = lookups
    if not others:
        return first
    ids = jnp.concatenate([part.ids for part in lookups])
    rows = jnp.concatenate([part.every_row() for part in lookups])
    dims = (first.dims[0], ids.shape[0], first.dims[2])
    return Lookup(ids, rows, dims, first.result, first.views)


def cross(product: ProductSum, lookup: Lookup) -> tuple[Array, Array]:
    """Return ⟨Aᵀ G, lookup⟩ = Σₜₛ A[t, idₛ] ⟨Gₜ, uₛ⟩, A being (T, V) and G (T, p).

    An embedding that is also the output layer needs it: both are gradients of one table.

    Returns:
        A number, (), and two scales, (2,), of the product and of the lookup. The inner
        product is the number times both scales.
    """
    a, g = product.factors()
    a, g, scale = norms.normalized_factors(a, g)
    rows, over = norms.normalized(lookup.every_row())
    columns = lookup.read(a[0].T)  # (V, T) at S ids: (S, T)
    inner = jnp.sum(columns * _matmul(rows.astype(columns.dtype), g[0].T))
    return inner, jnp.stack([scale[0], over.astype(scale.dtype)])


def repeat_row(ids: Array, row: Array, vocabulary: int) -> Array:
    """Return a row (..., 1, p) for each of the ids (..., T), 0 outside of the table."""
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
    """Return T ids, the sum of all rows of the same id, (T, p), and a share of it, (T,).

    The shares of one id add up to 1. So Σ share · f(sum) has f once for each distinct id.
    For ids (3, 5, 3) and rows (u, v, w), up to `PAIRS` ids: (3, 5, 3), (u+w, v, u+w),
    (1/2, 1, 1/2). Beyond, the ids are sorted, and each sum comes once: (3, 5, -), (u+w, v,
    0), (1, 1, 1), where - is a number that belongs to no row.
    """
    rows, t = rows.astype(wide(rows.dtype)), ids.shape[0]
    if t <= PAIRS:
        equal = (ids[:, None] == ids[None]).astype(rows.dtype)
        return ids, _matmul(equal, rows), 1 / jnp.sum(equal, -1)
    order = jnp.argsort(ids)
    ids, rows = ids[order], rows[order]
    starts = jnp.concatenate([jnp.zeros(1, bool), ids[1:] != ids[:-1]])
    run = jnp.cumsum(starts, dtype=jnp.int32)
    sums = jax.ops.segment_sum(rows, run, t, indices_are_sorted=True)
    first = jax.ops.segment_max(ids, run, t, indices_are_sorted=True)
    return first, sums, jnp.ones(t, rows.dtype)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
