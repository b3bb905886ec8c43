"""The per-example gradients of one parameter, as the sum of their parts."""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnn.per_example.parts import blocks, lookups, norms
from fnn.per_example.parts.base import Formed, Outer, Part
from fnn.per_example.parts.lookups import Lookup
from fnn.per_example.parts.norms import Cost, Scaled
from fnn.per_example.parts.products import STATIC
from fnn.per_example.parts.views import Place
from fnn.platforms import target
from fnn.sharding.meshes import spread
from fnn.types import Array, Shape, wide

# What is copied for a convolution is multiplied faster while in the caches of a CPU, which
# hold that of several layers at once.
CACHED_BYTES = 2**21
# Forming costs one product, and keeping two: one for the norms, one for weighted sums.
WORTH_FORMING = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Leaf:
    """The gradients of one parameter for the examples of a batch.

    Inside, `one` says of a method that it is for one example. `dtype` is that of what is
    returned; statistics have at least 32 bits.
    """

    parts: tuple[Part, ...]
    shape: Shape = dataclasses.field(metadata=STATIC)
    dtype: Any = dataclasses.field(metadata=STATIC)
    count: int = dataclasses.field(metadata=STATIC)  # of examples
    why: str = dataclasses.field(metadata=STATIC)  # why it is formed, or ""
    budget: int = dataclasses.field(metadata=STATIC)

    @property
    def wide(self) -> Any:
        """Return the dtype of statistics."""
        return wide(self.dtype)

    @property
    def form(self) -> str:
        """Return the way to the squared norm."""
        if len(self.parts) < 2:
            return self.parts[0].form if self.parts else "none"
        if _are_apart(self.parts, self.shape):
            return "apart"
        return "crossed" if _share_a_table(self.parts) else "direct"

    def squared_norms(self) -> Scaled:
        """Return ‖gᵢ‖², (B,)."""
        if not self.parts:
            nothing = jnp.zeros(self.count, self.wide)
            return Scaled(nothing, nothing + 1)
        block = self._block(self.cost().memory)
        squared: Scaled = self._over(Leaf._one_squared_norm, block)
        return squared

    def weighted_sum(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ, in the shape of the parameter."""
        total = jnp.zeros(self.shape, self.wide)
        if self.count:
            for part in self.parts:
                total += part.total(weights).astype(self.wide)
        return total

    def inner(self, v: Array) -> Array:
        """Return ⟨gᵢ, v⟩, (B,)."""
        if not self.parts:
            return jnp.zeros(self.count, self.wide)
        nbytes = self._itemsize * sum(part.numbers() for part in self.parts)
        block = self._block(nbytes)

        def one(leaf: "Leaf") -> Array:
            each = [part.inner(v).astype(self.wide) for part in leaf.parts]
            return functools.reduce(operator.add, each)

        return self._over(one, block)

    def squares(self) -> Array:
        """Return Σᵢ gᵢ², element by element, in the shape of the parameter."""
        if not self.parts or not self.count:
            return jnp.zeros(self.shape, self.wide)
        first, *others = self.parts
        if isinstance(first, Outer) and not others and first.form == "rank one":
            return first.total_squares().astype(self.wide)
        block, devices = self._block(self._dense_bytes()), spread(self.count)
        return blocks.total(Leaf._one_squares, self, self.count, block, devices)

    def dense(self) -> Array:
        """Return gᵢ, (B, ...)."""
        if not self.parts:
            return jnp.zeros((self.count, *self.shape), self.wide)
        copied = sum(part.copied() for part in self.parts if isinstance(part, Outer))
        cpu = target() == "cpu"
        most = min(self.budget, CACHED_BYTES) if cpu else self.budget
        block = blocks.size(self.count, self._itemsize * copied, most, spread(self.count))
        return self._over(Leaf._one_dense, block)

    def gram(self, other: "Leaf") -> Array:
        """Return ⟨gᵢ, hⱼ⟩ of all examples i of one batch and j of another, (B, B')."""
        if not (self.parts and other.parts and self.count and other.count):
            return jnp.zeros((self.count, other.count), self.wide)
        mine, theirs = self.parts[0], other.parts[0]
        if len(self.parts) > 1 or len(other.parts) > 1:
            return self._products(other)
        if isinstance(mine, Lookup) and isinstance(theirs, Lookup):
            return self._pairs(mine, theirs, other.count).astype(self.wide)
        if isinstance(mine, Outer) and isinstance(theirs, Outer) and mine.agrees(theirs):
            return mine.pairs(theirs).astype(self.wide)
        return self._products(other)

    def cost(self) -> Cost:
        """Return what the squared norm costs for one example."""
        each = [part.cost(self._itemsize) for part in self.parts]
        if self.form == "direct" and len(self.parts) > 1:
            flops = sum(math.prod(p.dims) for p in self.parts if isinstance(p, Outer))
            return Cost(2 * flops + 2 * math.prod(self.shape), self._dense_bytes())
        return Cost(sum(c.flops for c in each), sum(c.memory for c in each))

    def take(self, examples: Array) -> "Leaf":
        """Return the leaf of some examples, given as integers."""
        parts = jax.tree.map(lambda x: x[examples], self.parts)
        return dataclasses.replace(self, parts=parts, count=examples.shape[0])

    def formed(self, why: str) -> "Leaf":
        """Return the leaf with its gradients formed."""
        return dataclasses.replace(self, parts=(Formed(self.dense()),), why=why)

    def _block(self, nbytes: int) -> int:
        """Return how many examples, of so many bytes each, may be computed at once."""
        return blocks.size(self.count, nbytes, self.budget, spread(self.count))

    def _over(self, one: Any, block: int) -> Any:
        return blocks.over(one, self, self.count, block, spread(self.count))

    def _one_dense(self) -> Array:
        each = [part.dense().astype(self.wide) for part in self.parts]
        return functools.reduce(operator.add, each)

    def _one_squares(self) -> Array:
        if len(self.parts) == 1:
            return self.parts[0].squares().astype(self.wide)
        return jnp.square(self._one_dense())

    def _one_squared_norm(self) -> Scaled:
        form = self.form
        if form == "direct" and len(self.parts) > 1:
            return norms.scaled(self._one_dense())
        each = [part.squared_norm().astype(self.wide) for part in self.parts]
        squared, scale = norms.together(each)
        if form != "crossed":
            return Scaled(squared, scale)
        product, lookup = self.parts
        assert isinstance(product, Outer)
        assert isinstance(lookup, Lookup)
        both, scales = lookups.cross(product, lookup)
        of_product, of_lookup = scales.astype(self.wide) / jnp.where(scale > 0, scale, 1)
        both = both.astype(self.wide) * of_product * of_lookup
        total = squared + 2 * both
        # A cross term that overflows must not pass for a norm of 0.
        beyond = squared + jnp.abs(both)
        finite = jnp.isfinite(total)
        return Scaled(jnp.where(finite, jnp.maximum(total, 0), beyond), scale)

    def _pairs(self, mine: Lookup, theirs: Lookup, others: int) -> Array:
        """Compare the ids of all pairs of examples."""
        nbytes = others * mine.dims[1] * theirs.dims[1] * self._itemsize

        def row(one: Lookup) -> Array:
            return jax.vmap(one.pair)(theirs)

        block = blocks.size(self.count, nbytes, self.budget)
        return blocks.over(row, mine, self.count, block)

    def _products(self, other: "Leaf") -> Array:
        """Form as many gradients at once as the budget allows, and multiply them."""
        nbytes = max(self._dense_bytes(), other._dense_bytes())
        rows, columns = (
            blocks.size(leaf.count, nbytes, self.budget // 2) for leaf in (self, other)
        )
        if rows == self.count and columns == other.count:
            g, h = (leaf.dense().reshape(leaf.count, -1) for leaf in (self, other))
            return jnp.matmul(g, h.T, precision=norms.HIGHEST)

        def column(one: "Leaf") -> Array:
            h = one._one_dense()
            return self._over(lambda leaf: _vdot(leaf._one_dense(), h), rows)

        return blocks.over(column, other, other.count, columns).T

    @property
    def _itemsize(self) -> int:
        return jnp.dtype(self.wide).itemsize

    def _dense_bytes(self) -> int:
        """Return the bytes that forming the gradient of one example takes."""
        if all(isinstance(part, Formed) for part in self.parts):
            return 0
        return self._itemsize * (
            math.prod(self.shape) + sum(part.numbers() for part in self.parts)
        )


def leaf_of(
    terms: Sequence[Any], shape: Shape, dtype: Any, count: int, why: str, budget: int
) -> Leaf:
    """Return the leaf that is the sum of terms, formed where that keeps little more.

    Norms and weighted sums then share one product: clipping needs no other for the norms.
    """
    parts = tuple(terms)
    leaf = Leaf(parts, shape, dtype, count, why, budget)
    if not parts or not count or any(isinstance(part, Formed | Lookup) for part in parts):
        return leaf
    if all(isinstance(part, Outer) and part.form == "rank one" for part in parts):
        return leaf
    size, kept = math.prod(shape), sum(part.numbers() for part in parts)
    if size <= WORTH_FORMING * kept and size * leaf._itemsize * count <= budget:
        return leaf.formed("a product not much larger than its factors")
    return leaf


def parts_of(terms: Sequence[Any]) -> tuple[Part, ...]:
    """Return the parts that terms of one example are, uses of one layout together."""
    groups: dict[Any, list[Any]] = {}
    for term in terms:
        kind = (isinstance(term, Lookup), term.layout())
        groups.setdefault(kind, []).append(term)
    products = [Outer(tuple(same)) for (table, _), same in groups.items() if not table]
    tables = [lookups.join(same) for (table, _), same in groups.items() if table]
    return (*products, *tables)


def _views(part: Part) -> Any:
    if isinstance(part, Outer):
        return part.uses[0].views
    return part.views if isinstance(part, Lookup) else ()


def _are_apart(parts: Sequence[Part], shape: Shape) -> bool:
    """Return whether parts are gradients of places in the parameter that don't overlap."""
    places = [(_views(part) or (None,))[-1] for part in parts]
    return all(
        isinstance(x, Place) and isinstance(y, Place) and x.apart(y, shape)
        for x, y in itertools.combinations(places, 2)
    )


def _share_a_table(parts: Sequence[Part]) -> bool:
    """Return whether parts are a product with a table and lookups in it."""
    if len(parts) != 2 or not isinstance(parts[0], Outer):
        return False
    product, lookup = parts[0], parts[1]
    if not isinstance(lookup, Lookup):
        return False
    use = product.uses[0]
    same = use.result == lookup.result and use.views == lookup.views
    return same and use.dims[0] == 1 and use.dims[2] == lookup.dims[0]


def _vdot(a: Array, b: Array) -> Array:
    return jnp.dot(a.reshape(a.size), b.reshape(b.size), precision=norms.HIGHEST)
