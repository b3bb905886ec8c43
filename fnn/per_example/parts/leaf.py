"""The per-example gradients of one parameter, as the sum of their parts."""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn.per_example.parts import blocks, lookups, norms
from fnn.per_example.parts.lookups import Lookup
from fnn.per_example.parts.norms import Cost, SquaredNorm
from fnn.per_example.parts.products import STATIC, Formed, Part, Product, ProductSum
from fnn.per_example.parts.views import Place, View
from fnn.platforms import target
from fnn.sharding.meshes import spread
from fnn.types import Array, Shape, wide

# A convolution's copies are multiplied faster while they are in the caches of a CPU, which
# hold those of several layers at once. With 4 or 8 MiB, LeNet and others are not faster in
# the suite `per_example` of benchmarks, and take up to twice the memory.
CACHED_BYTES = 2**21
# Form g if it is at most this many times larger than its factors. Forming costs one product
# for norms and weighted sums together; keeping the factors costs two.
WORTH_FORMING = 2

Parts: TypeAlias = tuple[Part, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of the gradient of one parameter: parts whose sum it is.

    Attributes:
        parts: The parts; none if the gradient is 0.
        why: Why the gradient is formed, or "". It is part of the tree's structure, since
            `vmap` returns arrays alone.
    """

    parts: Parts
    why: str = dataclasses.field(metadata=STATIC)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Leaf:
    """The gradients of one parameter for the examples of a batch.

    All its methods are for the batch. Functions of `Parts` are for one example.

    Attributes:
        parts: The parts, their arrays with a leading axis of examples.
        shape: The shape of the parameter.
        dtype: The dtype of what is returned; statistics have at least 32 bits.
        count: The number of examples.
        why: Why the gradients are formed, or "".
        budget: Bytes that may be used beside the factors; see `fnn.per_example.gradients`.
    """

    parts: Parts
    shape: Shape = dataclasses.field(metadata=STATIC)
    dtype: Any = dataclasses.field(metadata=STATIC)
    count: int = dataclasses.field(metadata=STATIC)
    why: str = dataclasses.field(metadata=STATIC)
    budget: int = dataclasses.field(metadata=STATIC)

    @property
    def wide(self) -> Any:
        """Return the dtype of statistics."""
        return wide(self.dtype)

    @property
    def rule(self) -> str:
        """Return the rule by which the squared norms are computed."""
        return _rule(self.parts, self.shape)

    def squared_norms(self) -> SquaredNorm:
        """Return ‖gᵢ‖², (B,)."""
        if not self.parts:
            nothing = jnp.zeros(self.count, self.wide)
            return SquaredNorm(nothing, nothing + 1)

        def one(parts: Parts) -> SquaredNorm:
            return _squared_norm(parts, self.shape, self.wide)

        squared: SquaredNorm = self._over(one, self._block(self.cost().memory))
        return squared

    def weighted_sum(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ, in the shape of the parameter."""
        total = jnp.zeros(self.shape, self.wide)
        if self.count:
            for part in self.parts:
                total += part.batch_sum(weights).astype(self.wide)
        return total

    def inner(self, v: Array) -> Array:
        """Return ⟨gᵢ, v⟩, (B,)."""
        if not self.parts:
            return jnp.zeros(self.count, self.wide)
        nbytes = self._itemsize * sum(part.kept() for part in self.parts)

        def one(parts: Parts) -> Array:
            each = [part.inner(v).astype(self.wide) for part in parts]
            return functools.reduce(operator.add, each)

        return self._over(one, self._block(nbytes))

    def sum_of_squares(self) -> Array:
        """Return Σᵢ gᵢ², element by element, in the shape of the parameter."""
        if not self.parts or not self.count:
            return jnp.zeros(self.shape, self.wide)
        first, *others = self.parts
        if isinstance(first, ProductSum) and not others and first.rule == "rank one":
            return first.batch_sum_of_squares().astype(self.wide)

        def one(parts: Parts) -> Array:
            return _squares(parts, self.wide)

        block, devices = self._block(self._forming_bytes()), spread(self.count)
        return blocks.total(one, self.parts, self.count, block, devices)

    def formed(self) -> Array:
        """Return gᵢ as an array, (B, ...)."""
        if not self.parts:
            return jnp.zeros((self.count, *self.shape), self.wide)
        copied = sum(part.copied() for part in self.parts if isinstance(part, ProductSum))
        cpu = target() == "cpu"
        most = min(self.budget, CACHED_BYTES) if cpu else self.budget
        block = blocks.size(self.count, self._itemsize * copied, most, spread(self.count))
        return self._over(self._form, block)

    def gram(self, other: "Leaf") -> Array:
        """Return ⟨gᵢ, hⱼ⟩ of all examples i of one batch and j of another, (B, B')."""
        if not (self.parts and other.parts and self.count and other.count):
            return jnp.zeros((self.count, other.count), self.wide)
        mine, theirs = self.parts[0], other.parts[0]
        if len(self.parts) > 1 or len(other.parts) > 1:
            return self._gram_of_formed(other)
        if isinstance(mine, Lookup) and isinstance(theirs, Lookup):
            return self._gram_of_lookups(mine, theirs, other.count).astype(self.wide)
        if not (isinstance(mine, ProductSum) and isinstance(theirs, ProductSum)):
            return self._gram_of_formed(other)
        if not mine.has_batch_gram(theirs):
            return self._gram_of_formed(other)
        return mine.batch_gram(theirs).astype(self.wide)

    def cost(self) -> Cost:
        """Return the cost of the squared norm of each example."""
        each = [part.batch_cost(self._itemsize) for part in self.parts]
        if self.rule == "direct" and len(self.parts) > 1:
            sums = [part for part in self.parts if isinstance(part, ProductSum)]
            flops = sum(math.prod(part.dims) for part in sums)
            return Cost(2 * flops + 2 * math.prod(self.shape), self._forming_bytes())
        return Cost(sum(c.flops for c in each), sum(c.memory for c in each))

    def take(self, examples: Array) -> "Leaf":
        """Return the leaf of some examples, given as integers."""
        parts = jax.tree.map(lambda x: x[examples], self.parts)
        return dataclasses.replace(self, parts=parts, count=examples.shape[0])

    def _form(self, parts: Parts) -> Array:
        """Return g of one example."""
        return _formed(parts, self.wide)

    def _block(self, nbytes: int) -> int:
        """Return how many examples may be computed at once, of `nbytes` bytes each."""
        return blocks.size(self.count, nbytes, self.budget, spread(self.count))

    def _over(self, one: Callable[[Parts], Any], block: int) -> Any:
        """Return `one` of the parts of each example, for a block of them at once."""
        return blocks.over(one, self.parts, self.count, block, spread(self.count))

    def _gram_of_lookups(self, mine: Lookup, theirs: Lookup, others: int) -> Array:
        """Compare the ids of all pairs of examples."""
        nbytes = others * mine.dims[1] * theirs.dims[1] * self._itemsize

        def row(one: Lookup) -> Array:
            return jax.vmap(one.dot)(theirs)

        block = blocks.size(self.count, nbytes, self.budget)
        return blocks.over(row, mine, self.count, block)

    def _gram_of_formed(self, other: "Leaf") -> Array:
        """Form as many gradients at once as the budget allows, and multiply them."""
        nbytes = max(self._forming_bytes(), other._forming_bytes())
        rows, columns = (
            blocks.size(leaf.count, nbytes, self.budget // 2) for leaf in (self, other)
        )
        if rows == self.count and columns == other.count:
            g, h = (leaf.formed().reshape(leaf.count, -1) for leaf in (self, other))
            return jnp.matmul(g, h.T, precision=norms.HIGHEST)

        def column(one: Parts) -> Array:
            h = other._form(one)
            return self._over(lambda parts: _vdot(self._form(parts), h), rows)

        return blocks.over(column, other.parts, other.count, columns).T

    @property
    def _itemsize(self) -> int:
        return jnp.dtype(self.wide).itemsize

    def _forming_bytes(self) -> int:
        """Return the bytes that forming the gradient of one example takes."""
        if all(isinstance(part, Formed) for part in self.parts):
            return 0
        return self._itemsize * (
            math.prod(self.shape) + sum(part.kept() for part in self.parts)
        )


def leaf_of(kept: Kept, shape: Shape, dtype: Any, count: int, budget: int) -> Leaf:
    """Return the leaf of a batch of kept gradients; form them where that is cheaper.

    Clipping needs norms and a weighted sum. If the gradients are formed, both share one
    product.
    """
    parts = kept.parts
    leaf = Leaf(parts, shape, dtype, count, kept.why, budget)
    if not parts or not count or not all(isinstance(part, ProductSum) for part in parts):
        return leaf
    if all(part.rule == "rank one" for part in parts):
        return leaf
    size, numbers = math.prod(shape), sum(part.kept() for part in parts)
    if size <= WORTH_FORMING * numbers and size * leaf._itemsize * count <= budget:
        why = "a product not much larger than its factors"
        return dataclasses.replace(leaf, parts=(Formed(leaf.formed()),), why=why)
    return leaf


def parts_of(uses: Sequence[Product | Lookup]) -> Parts:
    """Return the parts that the uses of a parameter are, those of one layout together."""
    groups: dict[Any, list[Any]] = {}
    for use in uses:
        group = (isinstance(use, Lookup), use.layout())
        groups.setdefault(group, []).append(use)
    sums = [ProductSum(tuple(same)) for (table, _), same in groups.items() if not table]
    tables = [lookups.join(same) for (table, _), same in groups.items() if table]
    return (*sums, *tables)


def _rule(parts: Parts, shape: Shape) -> str:
    if len(parts) < 2:
        return parts[0].rule if parts else "none"
    if _are_apart(parts, shape):
        return "apart"
    return "crossed" if _share_a_table(parts) else "direct"


def _formed(parts: Parts, dtype: Any) -> Array:
    each = [part.formed().astype(dtype) for part in parts]
    return functools.reduce(operator.add, each)


def _squares(parts: Parts, dtype: Any) -> Array:
    if len(parts) == 1:
        return parts[0].squares().astype(dtype)
    return jnp.square(_formed(parts, dtype))


def _squared_norm(parts: Parts, shape: Shape, dtype: Any) -> SquaredNorm:
    """Return ‖g‖², (), of one example."""
    rule = _rule(parts, shape)
    if rule == "direct" and len(parts) > 1:
        return norms.of_array(_formed(parts, dtype))
    each = [part.squared_norm().astype(dtype) for part in parts]
    squared, scale = norms.together(each)
    if rule != "crossed":
        return SquaredNorm(squared, scale)
    # ‖g + h‖² = ‖g‖² + ‖h‖² + 2 ⟨g, h⟩, all relative to `scale`
    product, lookup = parts
    assert isinstance(product, ProductSum)
    assert isinstance(lookup, Lookup)
    both, scales = lookups.cross(product, lookup)
    of_product, of_lookup = scales.astype(dtype) / jnp.where(scale > 0, scale, 1)
    both = both.astype(dtype) * of_product * of_lookup
    total = squared + 2 * both
    # If the cross term overflows, the norm must be infinite, never 0.
    beyond = squared + jnp.abs(both)
    finite = jnp.isfinite(total)
    return SquaredNorm(jnp.where(finite, jnp.maximum(total, 0), beyond), scale)


def _last_view(part: Part) -> View | None:
    if isinstance(part, ProductSum):
        chain = part.products[0].views
    else:
        chain = part.views if isinstance(part, Lookup) else ()
    return chain[-1] if chain else None


def _are_apart(parts: Parts, shape: Shape) -> bool:
    """Return whether parts are gradients of places in the parameter that don't overlap."""
    places = map(_last_view, parts)
    return all(
        isinstance(x, Place) and isinstance(y, Place) and x.apart(y, shape)
        for x, y in itertools.combinations(places, 2)
    )


def _share_a_table(parts: Parts) -> bool:
    """Return whether parts are a product with a table and lookups in it."""
    if len(parts) != 2 or not isinstance(parts[0], ProductSum):
        return False
    lookup, use = parts[1], parts[0].products[0]
    if not isinstance(lookup, Lookup):
        return False
    same = use.result == lookup.result and use.views == lookup.views
    return same and use.dims[0] == 1 and use.dims[2] == lookup.dims[0]


def _vdot(a: Array, b: Array) -> Array:
    return jnp.dot(a.reshape(a.size), b.reshape(b.size), precision=norms.HIGHEST)
