"""What a model consists of: shapes, parameters and work per layer."""

import math
from typing import Any, NamedTuple

import jax

from fnn import checks, tree
from fnn.layers.base import Layer, kind_of, observing, show_layer, spec
from fnn.layers.repetition import Repeat
from fnn.types import PyTree


class LayerSummary(NamedTuple):
    """One layer: path, `repr`, shape of its output, parameters, and FLOPs."""

    path: str
    layer: str
    output: str
    parameters: int
    flops: float | None


class Summary(NamedTuple):
    """What `summary` returns: a row for each layer, and totals; prints as a table."""

    rows: tuple[LayerSummary, ...]
    parameters: int
    nbytes: int
    flops: float | None

    def __str__(self) -> str:
        header = ("path", "layer", "output", "parameters", "FLOPs")
        cells = [header]
        for row in self.rows:
            flops = _count(row.flops)
            cells.append((row.path, row.layer, row.output, f"{row.parameters:,}", flops))
        size = f"{self.nbytes / 1024:,.1f} KiB"
        total = ("total", "", size, f"{self.parameters:,}", _count(self.flops))
        widths = [max(map(len, column)) for column in zip(*cells, total, strict=True)]
        rule = "  ".join("-" * width for width in widths)
        lines = [_line(row, widths) for row in (*cells, total)]
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary(model: Layer, x: PyTree) -> Summary:
    """Describe a model layer by layer, for one example, without computing anything.

    What a step of training takes in memory, `fnn.memory_report` says.

    Args:
        model: Any layer. What a combinator holds is listed; what another layer calls
            inside counts as part of that layer. What `Repeat` holds is listed once, with
            the parameters and FLOPs of all copies.
        x: One example, or its `jax.ShapeDtypeStruct`.

    Returns:
        Rows and totals. FLOPs are XLA's count for the program as it stands before
        optimization, at inference; a multiplication and an addition are two.

    Raises:
        TypeError, ValueError: What the model itself raises, with the layer's path.

    Example:
        >>> model = fnn.Sequential(fnn.Dense(8), jax.nn.relu, fnn.Dense(2))
        >>> print(fnn.summary(model, jax.ShapeDtypeStruct((4,), "float32")))
        path     layer         output      parameters  FLOPs
        -------  ------------  ----------  ----------  -----
        dense_0  fnn.Dense(8)  float32[8]          40     72
        relu_0   jax.nn.relu   float32[8]           0      8
        dense_1  fnn.Dense(2)  float32[2]          18     34
        -------  ------------  ----------  ----------  -----
        total                  0.2 KiB             58    114
    """
    x = spec(x)
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    calls: list[tuple[tuple[str, ...], Layer, Any, Any, Any, Any]] = []

    def observe(*call: Any) -> None:
        path, layer, *trees = call
        calls.append((path, layer, *(spec(part) for part in trees)))

    with observing(observe):
        y, _ = jax.eval_shape(model.apply, params, state, x)
    if not calls:
        calls = [((kind_of(model),), model, params, state, x, y)]
    prefixes = {path[:i] for path, *_ in calls for i in range(len(path))}
    times = {path: layer.times for path, layer, *_ in calls if isinstance(layer, Repeat)}
    if isinstance(model, Repeat):
        times[()] = model.times
    rows = tuple(
        _row(math.prod(times.get(path[:i], 1) for i in range(len(path))), path, *call)
        for path, *call in calls
        if path not in prefixes
    )
    flops = _flops(model, params, state, x)
    return Summary(rows, tree.size(params), tree.nbytes(params), flops)


def _row(
    copies: int,
    path: tuple[str, ...],
    layer: Layer,
    params: Any,
    state: Any,
    x: Any,
    y: Any,
) -> LayerSummary:
    name = show_layer(layer).replace("\n", " ")
    if copies > 1:
        name = f"{copies} x {name}"
    flops = _flops(layer, params, state, x)
    return LayerSummary(
        "/".join(path),
        name,
        checks.describe(y),
        copies * tree.size(params),
        None if flops is None else copies * flops,
    )


def _flops(layer: Layer, params: Any, state: Any, x: Any) -> float | None:
    """Return XLA's count of operations, or `None` from a backend that has none."""

    def apply(params: Any, state: Any, x: Any) -> Any:
        # XLA counts the body of a loop once; this unrolls `jax.lax.scan`.
        with jax.disable_jit():
            return layer.apply(params, state, x)

    costs = jax.jit(apply).lower(params, state, x).cost_analysis()
    return None if costs is None else float(costs.get("flops", 0.0))


def _count(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    left = [f"{cell:<{width}}" for cell, width in zip(cells[:3], widths, strict=False)]
    right = [f"{c:>{w}}" for c, w in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join([*left, *right])
