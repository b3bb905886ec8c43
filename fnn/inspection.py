"""A summary of a model: shapes, parameters and work per layer."""

import math
import re
from typing import Any, NamedTuple

import jax

from fnn import checks, tree
from fnn.layers.base import Layer, kind_of, show_layer, spec
from fnn.layers.composite import Composite
from fnn.layers.repetition import Repeat
from fnn.layers.running import observed
from fnn.tables import text_table
from fnn.types import PyTree

QUALIFIER = re.compile(r"\b(?:fnn|jax)\.(?:[a-z_]\w*\.)*(?=\w)")
"""The module before a name of fnn or JAX."""

HEADER = ("name", "layer", "output", "parameters", "FLOPs")

SHRINKING = ((1, 19), (0, 20), (2, 17), (1, 12), (0, 16), (2, 12))
"""Columns that shrink if the table is too wide, in this order, and their least width."""


class LayerSummary(NamedTuple):
    """One layer: path, `repr` in one line, its output, parameters, and FLOPs."""

    path: str
    layer: str
    output: str
    parameters: int
    flops: float | None


class Summary(NamedTuple):
    """The result of `summary`: a row for each layer, and totals; prints as a table.

    The table fits the terminal, or 80 columns if that is narrower. Layers inside another
    are indented below its name. They are printed without module names, and shortened if the
    table is too wide; `rows` has the full text.
    """

    rows: tuple[LayerSummary, ...]
    parameters: int
    nbytes: int
    flops: float | None

    def __str__(self) -> str:
        lines: list[tuple[str, ...] | str] = []
        above: list[str] = []  # paths of the layers around the next row
        for row in self.rows:
            holder, _, name = row.path.rpartition("/")
            while above and not f"{holder}/".startswith(f"{above[-1]}/"):
                above.pop()
            if holder and above[-1:] != [holder]:
                rest = holder.removeprefix(f"{above[-1]}/") if above else holder
                lines.append("  " * len(above) + rest)
                above.append(holder)
            name, layer = "  " * len(above) + name, QUALIFIER.sub("", row.layer)
            lines.append(
                (name, layer, row.output, f"{row.parameters:,}", _count(row.flops))
            )
        sums = f"{self.parameters:,}", _count(self.flops)
        total = ("total", "", _bytes(self.nbytes), *sums)
        return text_table(HEADER, lines, numbers=2, total=total, shrinking=SHRINKING)


def summary(model: Layer, x: PyTree) -> Summary:
    """Describe a model layer by layer, for one example, without computing anything.

    For the memory of a training step, see `fnn.memory_report`.

    Args:
        model: Any layer. A combinator's layers are listed; those that another layer calls
            inside count as part of it. The layer of a `Repeat` is listed once, with the
            parameters and FLOPs of all copies. A layer that a composite holds but does not
            run is listed with the output "never run".
        x: One example, or its `jax.ShapeDtypeStruct`.

    Returns:
        Rows and totals. FLOPs are XLA's count for the program before optimization, at
        inference; a multiplication and an addition are two.

    Raises:
        TypeError, ValueError: The model's own errors, with the layer's path.

    Example:
        >>> model = fnn.Sequential(fnn.Dense(8), jax.nn.relu, fnn.Dense(2))
        >>> print(fnn.summary(model, jax.ShapeDtypeStruct((4,), "float32")))
        name     layer     output      parameters  FLOPs
        -------  --------  ----------  ----------  -----
        dense_0  Dense(8)  float32[8]          40     72
        relu_0   relu      float32[8]           0      8
        dense_1  Dense(2)  float32[2]          18     34
        -------  --------  ----------  ----------  -----
        total              232 B               58    114
    """
    x = spec(x)
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    calls: list[tuple[tuple[str, ...], Layer, Any, Any, Any, Any]] = []

    def observe(*call: Any) -> None:
        path, layer, *trees = call
        calls.append((path, layer, *(spec(part) for part in trees)))

    y = observed(observe, model, params, state, x)
    if not calls:
        calls = [((kind_of(model),), model, params, state, x, y)]
    prefixes = {path[:i] for path, *_ in calls for i in range(len(path))}
    run = {path for path, *_ in calls}
    times = {path: layer.times for path, layer, *_ in calls if isinstance(layer, Repeat)}
    if isinstance(model, Repeat):
        times[()] = model.times
    rows: list[LayerSummary] = []
    # A composite is observed after the layers that it runs.
    for path, layer, *arrays in [*calls, ((), model, params, state, x, y)]:
        if path not in prefixes:
            copies = math.prod(times.get(path[:i], 1) for i in range(len(path)))
            rows.append(_row(copies, path, layer, *arrays))
        elif isinstance(layer, Composite):
            rows += _never_run(layer, path, run)
    flops = _flops(model, params, state, x)
    return Summary(tuple(rows), tree.size(params), tree.nbytes(params), flops)


def _row(
    copies: int,
    path: tuple[str, ...],
    layer: Layer,
    params: Any,
    state: Any,
    x: Any,
    y: Any,
) -> LayerSummary:
    name = _in_one_line(show_layer(layer))
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


def _never_run(
    composite: Composite, path: tuple[str, ...], run: set[tuple[str, ...]]
) -> list[LayerSummary]:
    """Return a row for each layer of a composite that its `compute` does not run."""
    return [
        LayerSummary(
            "/".join((*path, name)), _in_one_line(show_layer(layer)), "never run", 0, 0.0
        )
        for name, layer in composite.children.items()
        if (*path, name) not in run
    ]


def _flops(layer: Layer, params: Any, state: Any, x: Any) -> float | None:
    """Return XLA's count of operations, or `None` if the backend does not count."""

    def apply(params: Any, state: Any, x: Any) -> Any:
        # XLA counts the body of a loop once; this unrolls `jax.lax.scan`.
        with jax.disable_jit():
            return layer.apply(params, state, x)

    costs = jax.jit(apply).lower(params, state, x).cost_analysis()
    return None if costs is None else float(costs.get("flops", 0.0))


def _count(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _bytes(number: int) -> str:
    """Return a number of bytes in the largest unit in which it is at least 1.

    Example:
        >>> _bytes(232), _bytes(1536), _bytes(3 * 2**20)
        ('232 B', '1.5 KiB', '3.0 MiB')
    """
    power = max((number.bit_length() - 1) // 10, 0)
    unit = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")[power]
    return f"{number / 1024**power:,.{min(power, 1)}f} {unit}"


def _in_one_line(text: str) -> str:
    r"""Undo the indentation of a long `repr`.

    Example:
        >>> _in_one_line("f(\n    1,\n    g(\n        2,\n    ),\n)")
        'f(1, g(2))'
    """
    text = re.sub(r",?\n *\)", ")", re.sub(r"\(\n *", "(", text))
    return re.sub(r"\n *", " ", text)
