"""Walking back from a parameter's gradient to the products that form it."""

import functools
import math

import numpy as np

from fnn.per_example.parts import lookups
from fnn.per_example.parts.views import Permute, Place, Reshape, Reverse, View
from fnn.per_example.tracing import scans
from fnn.per_example.tracing.graph import Atom, Constant, Equation, Graph
from fnn.per_example.tracing.paths import Found, NotFactoredError, Path

ALIASES = ("convert_element_type", "copy", "copy_p", "sharding_constraint")
SUMS = ("add_any", "add", "sub")
MINUS = Constant(np.float16(-1))  # of the narrowest dtype: it widens nothing
RESHAPES = ("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "reduce_sum")


def find(graph: Graph, atom: Atom, path: Path) -> list[Found]:
    """Return the products whose sum is the gradient `atom`; none where it is zero.

    Raises:
        NotFactoredError: If it is not such a sum.
    """
    if graph.is_zero(atom):
        return []
    equation = graph.producer.get(atom) if isinstance(atom, int) else None
    if equation is None:
        raise NotFactoredError("the same for every example")
    name, inputs = equation.name, equation.inputs
    if name in SUMS:
        left, right = inputs
        if graph.shape(left) != graph.shape(right):
            raise NotFactoredError("formed by a broadcast sum")
        minus = path.scaled(MINUS) if name == "sub" else path
        return find(graph, left, path) + find(graph, right, minus)
    if name == "scan":
        return scans.hoist(graph, equation, atom, path, find)
    if (term := _product(graph, equation, path)) is not None:
        return [term.scaled(graph, path.scales)]
    return [
        term
        for source, way in _ways_back(graph, equation, path)
        for term in find(graph, source, way)
    ]


def _ways_back(graph: Graph, equation: Equation, path: Path) -> list[tuple[Atom, Path]]:
    """Return what an equation rearranges or scales, and the path to it."""
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
    raise NotFactoredError(f"formed by {name}")


def _view(graph: Graph, equation: Equation) -> View | None:
    """Return how an equation rearranges its first operand, if it does nothing else."""
    name, params = equation.name, equation.params
    shape, out = graph.shape(equation.inputs[0]), graph.shape(equation.outputs[0])
    if name == "transpose":
        return Permute(tuple(params["permutation"]))
    if name == "rev":
        return Reverse(tuple(params["dimensions"]))
    if name in RESHAPES and math.prod(shape) == math.prod(out):
        # `reshape` of old could also permute.
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
    raise NotFactoredError(f"formed by {equation.name} with an array")


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


def _product(graph: Graph, equation: Equation, path: Path) -> Found | None:
    """Return what an equation is, if it is a product."""
    name, inputs, params = equation.name, equation.inputs, equation.params
    if name in ("dot_general", "conv_general_dilated"):
        size = math.prod(graph.shape(equation.outputs[0]))
        fixed = (x for x in inputs if x not in graph.varying)
        if any(math.prod(graph.shape(x)) >= size for x in fixed):
            # Kept, it would be copied for each example.
            raise NotFactoredError("a product with what is the same for every example")
        return Found(name, inputs, params, path.views)
    shape = graph.shape(equation.outputs[0])
    if name == "scatter-add" and graph.is_zero(inputs[0]):
        if not lookups.supported(shape, graph.shape(inputs[2]), params):
            raise NotFactoredError("formed by a scatter-add of less than whole rows")
        table = tuple(params["dimension_numbers"].inserted_window_dims)
        read = functools.partial(lookups.canonical, shape=shape, params=params)
        window = params["dimension_numbers"].update_window_dims
        row = _row_added(graph, inputs[2], window)
        ids, rows = graph.apply(read, inputs[1], inputs[2] if row is None else row)
        return Found("lookup", (ids, rows), {"shape": shape, "table": table}, path.views)
    if name == "dynamic_update_slice" and graph.is_zero(inputs[0]):
        part = graph.shape(inputs[1])
        axes = tuple(k for k in range(len(shape)) if part[k] != shape[k])
        if not axes or any(part[k] != 1 for k in axes):
            raise NotFactoredError("formed by dynamic_update_slice of less than whole rows")
        put = functools.partial(lookups.canonical_slice, shape=shape, axes=axes)
        ids, rows = graph.apply(put, *inputs[1:])
        return Found("lookup", (ids, rows), {"shape": shape, "table": axes}, path.views)
    return None


def _row_added(graph: Graph, atom: Atom, window: tuple[int, ...]) -> Atom | None:
    """Return the row of which a scatter-add adds copies at all indices, if it does."""
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
