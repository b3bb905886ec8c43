"""Results of a search over hyperparameters."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fnn import checks
from fnn.plots import arguments, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Column(NamedTuple):
    """Where the values of a column lie, from 0 to 1, and its ticks."""

    places: NDArray
    ticks: list[float]
    labels: list[str]


def parallel_coordinates(
    table: Mapping[str, Sequence[Any]],
    score: str,
    *,
    best: Literal["highest", "lowest"] = "highest",
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw each trial as a line through its values, one axis a column, the score last.

    Numbers that span more than two decades are on a logarithmic axis.

    Args:
        table: By name, a column of numbers or of choices, one for each trial.
        score: The column that gives the lines their colours.
        best: Whether the best trial, drawn thick, has the highest or the lowest score.
        axes: Where to draw.

    Raises:
        ValueError: If there is no such column, or if their lengths differ.

    Example:
        >>> table = {"rate": [0.1, 0.01], "act": ["relu", "tanh"], "accuracy": [0.9, 0.8]}
        >>> axes = fnn.plots.parallel_coordinates(table, "accuracy")
        >>> [label.get_text() for label in axes.get_xticklabels()]
        ['rate', 'act', 'accuracy']
    """
    from matplotlib import colormaps

    columns = arguments.columns_of(table, score)
    checks.one_of("best", best, ("highest", "lowest"))
    scores = arguments.numbers(f"column {score!r} of table", columns.pop(score), "trials")
    placed = {name: _place(column) for name, column in columns.items()}
    placed[score] = _place(list(scores))
    axes = style.current(axes)
    lines = np.stack([column.places for column in placed.values()], 1)
    order = np.argsort(scores if best == "highest" else -scores)
    for i in order:
        axes.plot(lines[i], color=colormaps["viridis"](lines[i, -1]), alpha=0.7)
    for x, column in enumerate(placed.values()):
        axes.axvline(x, **style.pencil())
        for tick, text in zip(column.ticks, column.labels, strict=True):
            axes.text(x + 0.03, tick, text, ha="left", va="center", fontsize="small")
    axes.set_xticks(range(len(placed)), list(placed))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def heat_map(
    table: Mapping[str, Sequence[Any]],
    x: str,
    y: str,
    score: str,
    *,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the score of trials over two columns: cells of a grid, or else points.

    Trials that share both values, such as those of several seeds, are averaged.

    Args:
        table: By name, a column of numbers or of choices, one for each trial.
        x: The column along the horizontal axis.
        y: The column along the vertical axis.
        score: The column that gives the colours.
        axes: Where to draw.

    Raises:
        ValueError: If there is no such column, or if their lengths differ.

    Example:
        >>> table = {"rate": [0.1, 0.1, 0.2], "width": [8, 16, 8], "loss": [0.5, 0.4, 0.3]}
        >>> axes = fnn.plots.heat_map(table, "rate", "width", "loss")
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('rate', 'width')
    """
    columns = arguments.columns_of(table, x, y, score)
    scores = arguments.numbers(f"column {score!r} of table", columns[score], "trials")
    axes = style.current(axes)
    across, along = _kinds(columns[x]), _kinds(columns[y])
    sums, counts = np.zeros((len(along), len(across))), np.zeros((len(along), len(across)))
    for a, b, value in zip(columns[y], columns[x], scores, strict=True):
        sums[along.index(a), across.index(b)] += value
        counts[along.index(a), across.index(b)] += 1
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    image = axes.imshow(means, cmap="viridis", aspect="auto", origin="lower")
    axes.set_xticks(range(len(across)), [_text(value) for value in across])
    axes.set_yticks(range(len(along)), [_text(value) for value in along])
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    style.scale_bar(axes, image, score)
    return axes


def _numeric(column: Sequence[Any]) -> bool:
    """Return whether all values are numbers."""
    return all(isinstance(v, int | float | np.number) for v in column) and not any(
        isinstance(v, bool) for v in column
    )


def _kinds(column: Sequence[Any]) -> list[Any]:
    """Return the values that occur: numbers in order, choices as they come."""
    found = list(dict.fromkeys(column))
    return sorted(found) if _numeric(found) else found


def _text(value: Any) -> str:
    """Return a value as a tick's label."""
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _place(column: list[Any]) -> _Column:
    """Return where the values lie on an axis from 0 to 1."""
    kinds = _kinds(column)
    if not _numeric(kinds):
        ticks = list(np.linspace(0, 1, len(kinds))) if len(kinds) > 1 else [0.5]
        places = np.array([ticks[kinds.index(value)] for value in column])
        return _Column(places, ticks, [_text(kind) for kind in kinds])
    numbers = np.asarray(column, float)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    if low > 0 and high / low > 100:
        numbers = np.log(numbers)
    least, most = np.nanmin(numbers), np.nanmax(numbers)
    places = (numbers - least) / (most - least) if most > least else numbers * 0 + 0.5
    return _Column(places, [0.0, 1.0], [_text(float(low)), _text(float(high))])
