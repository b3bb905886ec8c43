"""Results of a search over hyperparameters."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Scale(NamedTuple):
    """The positions of a column's values on an axis, from 0 to 1, and its ticks."""

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
    """Draw each trial as a line through its values; one axis per column, the score last.

    Choices, and numbers with few distinct values, are equally spaced. Other numbers are on
    a logarithmic axis if they differ twentyfold. The best trial is drawn thick. Trials
    without a finite score are grey.

    Args:
        table: For each name, a column of numbers or choices, one per trial.
        score: The column that colours the lines.
        best: Whether the best trial has the highest or the lowest score.
        axes: The axes to draw into.

    Raises:
        ValueError: If a column is missing, if their lengths differ, or if no score is
            finite.

    Example:
        >>> table = {"rate": [0.1, 0.01], "act": ["relu", "tanh"], "accuracy": [0.9, 0.8]}
        >>> axes = fnn.plots.parallel_coordinates(table, "accuracy")
        >>> [label.get_text() for label in axes.get_xticklabels()]
        ['rate', 'act', 'accuracy']
    """
    columns = arguments.columns_of(table, score)
    checks.one_of("best", best, ("highest", "lowest"))
    scores = _scores(score, columns.pop(score))
    arguments.named("table without its score", columns)
    scales = {name: _scale(column) for name, column in columns.items()}
    scales[score] = _spread(scores)
    lines = np.stack([scale.places for scale in scales.values()], 1)
    worth = np.nan_to_num(scores if best == "highest" else -scores, nan=-np.inf)

    axes = style.current(axes)
    for i in np.argsort(worth, kind="stable"):
        _trial(axes, lines[i], thick=i == worth.argmax())
    paper = tuple(palette.background(axes))
    box = {"facecolor": paper, "alpha": 0.75, "linewidth": 0, "pad": 0.8}
    for x, scale in enumerate(scales.values()):
        axes.axvline(x, **palette.pencil())
        for tick, label in zip(scale.ticks, scale.labels, strict=True):
            axes.plot(x, tick, "_", color=palette.text_color(), markersize=6, zorder=4)
            text = axes.text(x + 0.04, tick, label, va="center", bbox=box, zorder=5)
            text.set_fontsize("small")
    axes.set_xticks(range(len(scales)), list(scales))
    axes.set_yticks([])
    axes.tick_params(length=0)
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
    """Draw the score of trials over two columns: as the cells of a grid or as points.

    Trials that share both values, such as those of several seeds, are averaged. Points are
    drawn if trials fill less than half of the grid, as in a random search.

    Args:
        table: For each name, a column of numbers or choices, one per trial.
        x: The column along the horizontal axis.
        y: The column along the vertical axis.
        score: The column that gives the colours.
        axes: The axes to draw into.

    Raises:
        ValueError: If a column is missing, if their lengths differ, or if no score is
            finite.

    Example:
        >>> table = {"rate": [0.1, 0.1, 0.2], "width": [8, 16, 8], "loss": [0.5, 0.4, 0.3]}
        >>> axes = fnn.plots.heat_map(table, "rate", "width", "loss")
        >>> [text.get_text() for text in axes.texts]
        ['0.5', '0.3', '0.4']
    """
    columns = arguments.columns_of(table, x, y, score)
    scores = _scores(score, columns[score])
    cells = _cells(columns[x], columns[y], scores)
    axes = style.current(axes)
    if np.isfinite(cells).mean() >= 0.5:
        image = _draw_cells(axes, cells, _kinds(columns[x]), _kinds(columns[y]))
    else:
        image = _draw_points(axes, _scale(columns[x]), _scale(columns[y]), scores)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    style.scale_bar(axes, image, score)
    return axes


def _scores(name: str, column: list[Any]) -> NDArray:
    """Return the scores, with those that are not finite as NaN."""
    scores = arguments.numbers(f"column {name!r} of table", column, "trials")
    if not np.isfinite(scores).any():
        raise ValueError(f"column {name!r} of table must have a finite score, got none")
    return np.where(np.isfinite(scores), scores, np.nan)


def _trial(axes: "Axes", heights: NDArray, thick: bool) -> None:
    """Draw one trial as a smooth line in the colour of its score, the last height."""
    t = np.linspace(0, 1, 25)
    x = np.concatenate([i + t for i in range(len(heights) - 1)])
    y = np.concatenate([a + (b - a) * t**2 * (3 - 2 * t) for a, b in pairwise(heights)])
    scored = np.isfinite(heights[-1])
    color = palette.sequential(axes)(heights[-1]) if scored else palette.pencil()["color"]
    width, opacity = (3.5, 1.0) if thick else (1.4, 0.65)
    axes.plot(x, y, color=color, linewidth=width, alpha=opacity)


def _cells(across: list[Any], along: list[Any], scores: NDArray) -> NDArray:
    """Return the mean score for each pair of values, (along, across), NaN for none."""
    columns, rows = _kinds(across), _kinds(along)
    sums = np.zeros((len(rows), len(columns)))
    counts = np.zeros_like(sums)
    for a, b, score in zip(along, across, scores, strict=True):
        sums[rows.index(a), columns.index(b)] += score
        counts[rows.index(a), columns.index(b)] += 1
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _draw_cells(axes: "Axes", cells: NDArray, across: list[Any], along: list[Any]) -> Any:
    """Draw a grid, with numbers in its cells unless there are too many."""
    image = axes.imshow(cells, cmap="viridis", aspect="auto", origin="lower")
    axes.set_xticks(range(len(across)), [_text(value) for value in across])
    axes.set_yticks(range(len(along)), [_text(value) for value in along])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if cells.size <= 80:
        for i, j in np.argwhere(np.isfinite(cells)):
            ink = palette.readable_on(image.cmap(image.norm(cells[i, j])))
            axes.text(j, i, f"{cells[i, j]:.3g}", ha="center", va="center", color=ink)
    return image


def _draw_points(axes: "Axes", x: _Scale, y: _Scale, scores: NDArray) -> Any:
    """Draw a point for each trial."""
    image = axes.scatter(x.places, y.places, c=scores, cmap=palette.sequential(axes), s=60)
    axes.set_xticks(x.ticks, x.labels)
    axes.set_yticks(y.ticks, y.labels)
    style.open_frame(axes)
    return image


def _numeric(column: Sequence[Any]) -> bool:
    """Return whether all values are numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in column)


def _kinds(column: Sequence[Any]) -> list[Any]:
    """Return the distinct values: numbers sorted, choices in order of appearance."""
    found = list(dict.fromkeys(column))
    return sorted(found) if _numeric(found) else found


def _text(value: Any) -> str:
    """Return a value as the label of a tick."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _scale(column: list[Any]) -> _Scale:
    """Return the axis for a column."""
    kinds = _kinds(column)
    if _numeric(kinds) and len(kinds) > 6:
        return _spread(np.asarray(column, float))
    ticks = list(np.linspace(0, 1, len(kinds))) if len(kinds) > 1 else [0.5]
    places = np.array([ticks[kinds.index(value)] for value in column])
    return _Scale(places, ticks, [_text(kind) for kind in kinds])


def _spread(numbers: NDArray) -> _Scale:
    """Return the axis for numbers, logarithmic if they differ twentyfold."""
    from matplotlib.ticker import MaxNLocator

    low, high = np.nanmin(numbers), np.nanmax(numbers)
    if low == high:
        return _Scale(numbers * 0 + 0.5, [0.5], [_text(float(low))])
    if low > 0 and high / low >= 20:
        powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        between = (1, 3) if len(powers) <= 3 else (1,)
        marks = np.array([m * 10.0**k for k in powers for m in between])
        numbers, low, high, places = np.log(numbers), *np.log([low, high]), np.log(marks)
    else:
        marks = places = np.array(MaxNLocator(5).tick_values(low, high))
    inside = (places >= low) & (places <= high)
    ticks = (places[inside] - low) / (high - low)
    labels = [_text(float(mark)) for mark in marks[inside]]
    return _Scale((numbers - low) / (high - low), list(ticks), labels)
