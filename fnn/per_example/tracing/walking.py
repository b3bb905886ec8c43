"""Walking back from a parameter's gradient to the products that form it.

On the way are sums, of which both sides are walked to; views, such as a transpose; and
scale factors. They are collected in a `Path` until the walk ends at a product. What is not
among these ends it with `NotFactoredError`, and the gradient is formed.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from fnn.per_example.parts import convolutions, lookups, products
from fnn.per_example.parts.lookups import Lookup
from fnn.per_example.parts.products import Product
from fnn.per_example.parts.views import Permute, Place, Reshape, Reverse, View
from fnn.per_example.tracing import scans, scatters
from fnn.per_example.tracing.graph import (
    Atom,
    Constant,
    Equation,
    Graph,
    NotFactoredError,
)
from fnn.types import Array

ALIASES = ("convert_element_type", "copy", "copy_p", "sharding_constraint")
SUMS = ("add_any", "add", "sub")
MINUS = Constant(np.float16(-1))  # of the narrowest dtype: it widens nothing
RESHAPES = ("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "reduce_sum")

# Primitives whose results `explain` calls elementwise, in place of their names.
NAMES = (
    "abs acos acosh add add_any asin asinh atan atan2 atanh cbrt clamp cos cosh digamma "
    "div erf erf_inv erfc exp exp2 expm1 integer_pow lgamma log log1p logistic max min mul "
    "pow rem rsqrt select_n sign sin sinh sqrt square sub tan tanh"
)
ELEMENTWISE = frozenset(NAMES.split())

Scales: TypeAlias = tuple[tuple[Atom, bool], ...]
"""Scale factors, each with whether to divide by it."""


@dataclasses.dataclass(frozen=True)
class TracedProduct:
    """A product in the graph: one use of a parameter, its operands not computed yet.

    Attributes:
        kind: `"dot_general"`, `"conv_general_dilated"` or `"lookup"`.
        operands: The two operands; of a lookup, ids and rows.
        params: The parameters of the equation; of a lookup, `shape` and `table`.
        views: The rearrangements from the equation's result to the parameter.
    """

    kind: str
    operands: tuple[Atom, ...]
    params: dict[str, Any]
    views: tuple[View, ...]

    def build(self, a: Array, b: Array) -> Product | Lookup:
        """Return the product of one example, given the values of its operands."""
        params = self.params
        if self.kind == "dot_general":
            numbers, precision = params["dimension_numbers"], params["precision"]
            return products.dot(a, b, numbers, precision, self.views)
        if self.kind == "conv_general_dilated":
            return convolutions.convolution(a, b, params, self.views)
        return lookups.lookup(a, b, params["shape"], params["table"], self.views)

    def scaled(self, graph: Graph, scales: Scales) -> "TracedProduct":
        """Return the product with its smaller operand multiplied by scalars.

        The result has the wider dtype of operand and scalar: a float16 gradient divided by
        a float32 loss scale may not fit in float16.
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
    """The views and scale factors passed on the walk from a gradient to a product."""

    views: tuple[View, ...] = ()
    scales: Scales = ()

    def seen(self, *views: View) -> "Path":
        """Return the path with these views added in front: they are applied first."""
        return Path((*views, *self.views), self.scales)

    def scaled(self, scale: Atom, divide: bool = False) -> "Path":
        """Return the path with one more scale factor."""
        return Path(self.views, (*self.scales, (scale, divide)))


def extract_all(
    graph: Graph, gradients: Sequence[Atom]
) -> list[tuple[list[TracedProduct], str]]:
    """Return for each gradient the products whose sum it is, or why there are none.

    A gradient is either formed, with a reason, or the sum of its products; of none, if it
    is 0.
    """
    found: list[tuple[list[TracedProduct], str]] = []
    for gradient in gradients:
        try:
            found.append((extract(graph, gradient), ""))
        except NotFactoredError as reason:
            found.append(([], str(reason)))
    if any(equation.loop is not None for equation in graph.equations):
        scans.rederive(graph)
    return found


def extract(graph: Graph, atom: Atom, path: Path = Path()) -> list[TracedProduct]:
    """Return the products whose sum is the gradient `atom`; none where it is zero.

    This changes the graph, by additions alone: it appends equations that compute operands,
    and gives scans more outputs. The invariant: any atom evaluates to the same value before
    and after, whether the walk ends in products or in an error, as `Graph.evaluate` runs
    what is needed and no more. So a walk may fail halfway, and the gradient is formed.

    Raises:
        NotFactoredError: If the gradient is not such a sum.
    """
    if graph.is_zero(atom):
        return []
    equation = graph.producer.get(atom) if isinstance(atom, int) else None
    if equation is None:
        raise NotFactoredError("the same for every example")
    name, inputs = equation.name, equation.inputs
    # A sum: the products of both sides; a scan: products of all its steps; a product: the
    # end of the walk; anything else must rearrange or scale one array, which is walked to.
    if name in SUMS:
        left, right = inputs
        if graph.shape(left) != graph.shape(right):
            raise NotFactoredError("not a product: a sum of unlike shapes")
        minus = path.scaled(MINUS) if name == "sub" else path
        return extract(graph, left, path) + extract(graph, right, minus)
    if name == "scan":
        # The body of a scan is walked like the program: `scans` calls back `extract`.
        return scans.hoist(graph, equation, atom, path, extract)
    if (product := _product(graph, equation, path)) is not None:
        return [product.scaled(graph, path.scales)]
    return [
        product
        for source, longer in _sources(graph, equation, path)
        for product in extract(graph, source, longer)
    ]


def _sources(graph: Graph, equation: Equation, path: Path) -> list[tuple[Atom, Path]]:
    """Return what an equation rearranges or scales, each with the path to it."""
    name, source = equation.name, equation.inputs[0]
    if name in ("mul", "div"):
        return [_past_scalar(graph, equation, path)]
    if name == "neg":
        return [(source, path.scaled(MINUS))]
    if name == "concatenate":
        return _pieces(graph, equation, path)
    if name in ALIASES and graph.floats(source):
        return [(source, path)]
    if (view := _view(graph, equation)) is not None:
        return [(source, path.seen(view))]
    raise NotFactoredError(_why_not(name))


def _why_not(name: str) -> str:
    """Return in words for users why the result of a primitive is not a product."""
    if name in ELEMENTWISE:
        return "not a product: elementwise"
    if name == "reduce_sum":
        return "not a product: a sum over positions"
    return f"not a product: the result of {name}"


def _view(graph: Graph, equation: Equation) -> View | None:
    """Return how an equation rearranges its first operand, if it does nothing else."""
    name, params = equation.name, equation.params
    shape, out = graph.shape(equation.inputs[0]), graph.shape(equation.outputs[0])
    if name == "transpose":
        return Permute(tuple(params["permutation"]))
    if name == "rev":
        return Reverse(tuple(params["dimensions"]))
    if name in RESHAPES and math.prod(shape) == math.prod(out):
        # A broadcast or a sum that keeps the number of elements only adds or drops axes of
        # length 1. In old versions, `reshape` could also permute.
        in_order = name != "reshape" or params.get("dimensions") is None
        return Reshape(shape, out) if in_order else None
    if name == "pad" and graph.is_zero(equation.inputs[1]):
        low, high, inner = zip(*params["padding_config"], strict=True)
        if min(low + high) >= 0 and not any(inner):
            return Place(low, high)
    return None


def _past_scalar(graph: Graph, equation: Equation, path: Path) -> tuple[Atom, Path]:
    """Return the operand that a scalar multiplies or divides, and the path to it."""
    shape = graph.shape(equation.outputs[0])
    left, right = equation.inputs
    for source, other in ((left, right), (right, left)):
        scalar = _scalar(graph, other)
        if scalar is not None and graph.shape(source) == shape:
            return source, path.scaled(scalar, equation.name == "div")
        if equation.name == "div":
            break
    raise NotFactoredError(_why_not(equation.name))


def _scalar(graph: Graph, atom: Atom) -> Atom | None:
    """Return the single number of which all elements of `atom` are copies, if any."""
    while math.prod(graph.shape(atom)) != 1:
        equation = graph.producer.get(atom) if isinstance(atom, int) else None
        if equation is None or equation.name not in ("broadcast_in_dim", "reshape"):
            return None
        atom = equation.inputs[0]
    return atom


def _pieces(graph: Graph, equation: Equation, path: Path) -> list[tuple[Atom, Path]]:
    """Return the arrays that are concatenated, each put into zeros at its place."""
    axis, total = equation.params["dimension"], graph.shape(equation.outputs[0])
    pieces, before = [], 0
    for piece in equation.inputs:
        size = graph.shape(piece)[axis]
        low, high = [0] * len(total), [0] * len(total)
        low[axis], high[axis] = before, total[axis] - before - size
        pieces.append((piece, path.seen(Place(tuple(low), tuple(high)))))
        before += size
    return pieces


def _product(graph: Graph, equation: Equation, path: Path) -> TracedProduct | None:
    """Return the product that an equation is, or None."""
    name, inputs, params = equation.name, equation.inputs, equation.params
    if name in ("dot_general", "conv_general_dilated"):
        size = math.prod(graph.shape(equation.outputs[0]))
        fixed = (x for x in inputs if x not in graph.varying)
        if any(math.prod(graph.shape(x)) >= size for x in fixed):
            # As an operand, it would be copied for each example.
            raise NotFactoredError("a product with an array that all examples share")
        return TracedProduct(name, inputs, params, path.views)
    shape = graph.shape(equation.outputs[0])
    if name == "scatter-add" and graph.is_zero(inputs[0]):
        if not scatters.adds_whole_rows(shape, graph.shape(inputs[2]), params):
            raise NotFactoredError("a lookup of less than whole rows")
        table = tuple(params["dimension_numbers"].inserted_window_dims)
        read = functools.partial(scatters.ids_and_rows, shape=shape, params=params)
        window = params["dimension_numbers"].update_window_dims
        row = _row_added(graph, inputs[2], window)
        operands = graph.apply(read, inputs[1], inputs[2] if row is None else row)
        about = {"shape": shape, "table": table}
        return TracedProduct("lookup", operands, about, path.views)
    if name == "dynamic_update_slice" and graph.is_zero(inputs[0]):
        part = graph.shape(inputs[1])
        axes = tuple(k for k in range(len(shape)) if part[k] != shape[k])
        if not axes or any(part[k] != 1 for k in axes):
            raise NotFactoredError("a slice of less than whole rows")
        put = functools.partial(scatters.id_and_row, shape=shape, axes=axes)
        operands = graph.apply(put, *inputs[1:])
        about = {"shape": shape, "table": axes}
        return TracedProduct("lookup", operands, about, path.views)
    return None


def _row_added(graph: Graph, atom: Atom, window: tuple[int, ...]) -> Atom | None:
    """Return the row whose copies a scatter-add adds at all indices, if it does.

    It is so for embeddings that are pooled: their sum has one cotangent for all ids.
    """
    equation = graph.producer.get(atom) if isinstance(atom, int) else None
    if equation is None or equation.name not in (*ALIASES, "broadcast_in_dim"):
        return None
    source = equation.inputs[0]
    if equation.name in ALIASES:
        return _row_added(graph, source, window) if graph.floats(source) else None
    copied = tuple(int(k) for k in equation.params["broadcast_dimensions"])
    shape, row = graph.shape(atom), graph.shape(source)
    whole = copied == window and row == tuple(shape[k] for k in window)
    indices = math.prod(shape) // max(math.prod(row), 1)
    return source if whole and indices > 1 else None
