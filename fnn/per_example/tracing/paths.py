"""What is found on the way back from a gradient: views, scalar factors, products."""

import dataclasses
import math
from typing import Any, TypeAlias

import jax.numpy as jnp

from fnn.per_example.parts import convolutions, lookups, products
from fnn.per_example.parts.views import View
from fnn.per_example.tracing.graph import Atom, Graph
from fnn.types import Array

Scales: TypeAlias = tuple[tuple[Atom, bool], ...]
"""Scalar factors, each with whether to divide by it."""


class NotFactoredError(Exception):
    """The gradient is not a sum of products; says why."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A product in the graph, and how the parameter's gradient is seen in it."""

    kind: str
    operands: tuple[Atom, ...]
    params: dict[str, Any]
    views: tuple[View, ...]

    def build(self, a: Array, b: Array) -> Any:
        """Return the product of one example, given its operands."""
        params = self.params
        if self.kind == "dot_general":
            numbers, precision = params["dimension_numbers"], params["precision"]
            return products.dot(a, b, numbers, precision, self.views)
        if self.kind == "conv_general_dilated":
            return convolutions.convolution(a, b, params, self.views)
        return lookups.lookup(a, b, params["shape"], params["table"], self.views)

    def scaled(self, graph: Graph, scales: Scales) -> "Found":
        """Return the product with its smaller operand multiplied by scalars.

        Of operand and scalar, the wider dtype holds the result: what float32 divides after
        a product of float16 (a scaled loss) need not be a number of float16.
        """
        if not scales:
            return self
        sizes = [math.prod(graph.shape(operand)) for operand in self.operands]
        chosen = 1 if self.kind == "lookup" or sizes[1] <= sizes[0] else 0

        def scale(x: Array, *factors: Any) -> tuple[Array]:
            for factor, (_, divide) in zip(factors, scales, strict=True):
                dtype = products.wider(x.dtype, jnp.result_type(factor))
                x, number = x.astype(dtype), jnp.asarray(factor, dtype).reshape(())
                x = x / number if divide else x * number
            return (x,)

        operands, factors = list(self.operands), [factor for factor, _ in scales]
        (operands[chosen],) = graph.apply(scale, operands[chosen], *factors)
        return dataclasses.replace(self, operands=tuple(operands))


@dataclasses.dataclass(frozen=True)
class Path:
    """What lies between a gradient and what is walked to: views, and scalar factors."""

    views: tuple[View, ...] = ()
    scales: Scales = ()

    def seen(self, *views: View) -> "Path":
        """Return the path with views more, which are applied first."""
        return Path((*views, *self.views), self.scales)

    def scaled(self, scale: Atom, divide: bool = False) -> "Path":
        """Return the path with a scalar factor more."""
        return Path(self.views, (*self.scales, (scale, divide)))
