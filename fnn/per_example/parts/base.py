"""What the gradient of a parameter is the sum of, and the parts that are not tables."""

import abc
import dataclasses
import functools
import math
import operator

import jax
import jax.numpy as jnp

from fnn.per_example.parts import norms, products
from fnn.per_example.parts.norms import Cost, Scaled
from fnn.per_example.parts.products import Product
from fnn.types import Array, wide


class Part(abc.ABC):
    """A gradient, of one example unless a method says that it is for a batch."""

    @property
    @abc.abstractmethod
    def form(self) -> str:
        """Return how its norm is computed."""

    @abc.abstractmethod
    def dense(self) -> Array:
        """Return g, in the shape of the parameter."""

    @abc.abstractmethod
    def squared_norm(self) -> Scaled:
        """Return ‖g‖², ()."""

    @abc.abstractmethod
    def inner(self, v: Array) -> Array:
        """Return ⟨g, v⟩, ()."""

    @abc.abstractmethod
    def total(self, weights: Array | None) -> Array:
        """Return Σᵢ wᵢ gᵢ of a batch, in the shape of the parameter."""

    @abc.abstractmethod
    def cost(self, itemsize: int) -> Cost:
        """Return what `squared_norm` costs for each example of a batch."""

    def squares(self) -> Array:
        """Return g², element by element, in the shape of the parameter."""
        return jnp.square(self.dense())

    def numbers(self) -> int:
        """Return how many numbers the factors of an example are, unfolded."""
        return 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Formed(Part):
    """A gradient that is there, element by element."""

    value: Array

    @property
    def form(self) -> str:
        return "formed"

    def dense(self) -> Array:
        return self.value.astype(wide(self.value.dtype))

    def squared_norm(self) -> Scaled:
        return norms.scaled(self.dense())

    def inner(self, v: Array) -> Array:
        value = self.dense()
        return jnp.sum(value * v.astype(value.dtype))

    def total(self, weights: Array | None) -> Array:
        value = self.dense()
        if weights is None:
            return jnp.sum(value, 0)
        weights = weights.astype(value.dtype)
        return jnp.tensordot(weights, value, 1, precision=norms.HIGHEST)

    def cost(self, itemsize: int) -> Cost:
        return Cost(2 * math.prod(self.value.shape[1:]), 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outer(Part):
    """The products of all uses of a parameter, which are one with their T end to end."""

    uses: tuple[Product, ...]

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """Return N, T, d, p."""
        n, _, d, p = self.uses[0].dims
        return n, sum(use.dims[1] for use in self.uses), d, p

    @property
    def form(self) -> str:
        return norms.cheapest(*self.dims)

    def factors(self) -> tuple[Array, Array]:
        """Return A, (N, T, d), and G, (N, T, p)."""
        a, g = zip(*(use.factors() for use in self.uses), strict=True)
        return jnp.concatenate(a, 1), jnp.concatenate(g, 1)

    def dense(self) -> Array:
        each = [products.unfold(use, use.block(use.precision)) for use in self.uses]
        return functools.reduce(operator.add, each)

    def squared_norm(self) -> Scaled:
        if self.form == "direct" and len(self.uses) == 1:
            return norms.scaled(self.uses[0].block(norms.HIGHEST))
        return norms.WAYS[self.form](*self.factors())

    def inner(self, v: Array) -> Array:
        a, g = (x.astype(wide(x.dtype)) for x in self.factors())
        v = products.fold(self.uses[0], v.astype(a.dtype))
        return jnp.sum(jnp.matmul(a, v, precision=norms.HIGHEST) * g)

    def total(self, weights: Array | None) -> Array:
        return functools.reduce(operator.add, [use.total(weights) for use in self.uses])

    def total_squares(self) -> Array:
        """Return Σᵢ gᵢ² of a batch where T is 1: a product of the squared factors."""
        a, g = (jnp.square(x) for x in self._batch())
        block = jnp.einsum("bntd,bntp->ndp", a, g, precision=norms.HIGHEST)
        return products.unfold(self.uses[0], block)

    def agrees(self, other: "Outer") -> bool:
        """Return whether both are of one layout, and T is 1."""
        same = bool(self.uses[0].layout() == other.uses[0].layout())
        return same and self.form == other.form == "rank one"

    def pairs(self, other: "Outer") -> Array:
        """Return ⟨gᵢ, hⱼ⟩ of two batches that agree, (B, B')."""
        a, g = (
            jnp.einsum("bntd,cntd->bcn", x, y, precision=norms.HIGHEST)
            for x, y in zip(self._batch(), other._batch(), strict=True)
        )
        return jnp.sum(a * g, -1)

    def cost(self, itemsize: int) -> Cost:
        flops, nbytes = norms.costs(*self.dims)[self.form]
        return Cost(flops, itemsize * (nbytes + self.copied()))

    def numbers(self) -> int:
        n, t, d, p = self.dims
        return n * t * (d + p)

    def copied(self) -> int:
        """Return how many numbers of an example are copied to multiply them."""
        return sum(use.copied() for use in self.uses)

    def _batch(self) -> tuple[Array, Array]:
        a, g = jax.vmap(lambda outer: outer.factors())(self)
        return a.astype(wide(a.dtype)), g.astype(wide(g.dtype))
