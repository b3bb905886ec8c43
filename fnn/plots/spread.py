"""Numbers that vary: from example to example, and from seed to seed."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gradient_norms(
    norms: ArrayLike, *, clip: float | None = None, axes: "Axes | None" = None
) -> "Axes":
    """Draw the distribution of per-example gradient norms, and the clipped share.

    Args:
        norms: (examples,).
        clip: The norm to which gradients are clipped.
        axes: The axes to draw into.

    Raises:
        ValueError: If a norm is below 0, or `clip` is not above it.

    Example:
        >>> axes = fnn.plots.gradient_norms([0.5, 0.7, 2.0, 3.0], clip=1.0)
        >>> axes.get_legend().get_texts()[0].get_text()
        'clipped to 1: 50%'
    """
    norms = arguments.numbers("norms", norms, "examples")
    if norms.min() < 0 or not np.isfinite(norms).all():
        raise ValueError(f"norms must be finite and at least 0, got {checks.span(norms)}")
    if clip is not None:
        checks.above_zero("clip", float(clip), finite=False)
    axes = style.current(axes)
    limit = np.inf if clip is None else clip
    parts = [norms[norms <= limit], norms[norms > limit]]
    colors = [palette.color(axes, i) for i in range(2)]
    edges = list(_edges(norms.max() or 1.0, limit))
    axes.hist(parts, edges, stacked=True, color=colors, alpha=0.7)
    style.open_frame(axes)
    axes.set_xlabel("norm of an example's gradient")
    axes.set_ylabel("examples")
    axes.set_xlim(left=0)
    if clip is not None:
        label = f"clipped to {clip:g}: {np.mean(norms > clip):.0%}"
        axes.axvline(clip, color=palette.color(axes, 1), linestyle="--", label=label)
        axes.margins(y=0.18)  # room for the name
        style.name_lines(axes)
    return axes


def bars(
    values: Mapping[str, float | Sequence[float] | ArrayLike],
    *,
    label: str,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a bar for each name, the first on top, with a point for each seed.

    The mean stands beside it, with the standard deviation if there are several seeds.

    Args:
        values: For each name, one number or one per seed, (seeds,); the bar is their mean.
        label: The name of the quantity, with its unit.
        axes: The axes to draw into.

    Raises:
        ValueError: If `values` is empty, or a name has no numbers.

    Example:
        >>> axes = fnn.plots.bars({"SGD": 0.9, "Adam": [0.94, 0.96]}, label="accuracy")
        >>> [round(float(bar.get_width()), 2) for bar in axes.patches]
        [0.9, 0.95]
    """
    arguments.named("values", values)
    rows = {
        k: arguments.numbers("values", np.atleast_1d(v), "seeds") for k, v in values.items()
    }
    axes = style.current(axes)
    for i, numbers in enumerate(rows.values()):
        axes.barh(i, numbers.mean(), color=palette.color(axes, 0), alpha=0.7, height=0.6)
        if len(numbers) > 1:
            ink = palette.text_color()
            axes.plot(numbers, np.full(len(numbers), i), "o", color=ink, ms=3, alpha=0.6)
        end = (max(numbers.max(), 0), i)
        text = _mean(numbers)
        axes.annotate(text, end, (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    style.open_frame(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label)
    return axes


def band(
    x: ArrayLike,
    mean: ArrayLike,
    deviation: ArrayLike,
    *,
    label: str | None = None,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a mean as a line, and one deviation to either side as a band around it.

    Args:
        x: (points,).
        mean: (points,).
        deviation: At least 0, (points,).
        label: The name of the line.
        axes: The axes to draw into; each call takes the next colour.

    Raises:
        ValueError: If the lengths differ, or a deviation is below 0.

    Example:
        >>> axes = fnn.plots.band([0, 1, 2], [1.0, 2.0, 4.0], [0.1, 0.2, 0.4])
        >>> len(axes.lines), len(axes.collections)
        (1, 1)
    """
    x = arguments.numbers("x", x, "points")
    mean = arguments.numbers("mean", mean, len(x))
    deviation = arguments.numbers("deviation", deviation, len(x))
    if deviation.min() < 0:
        raise ValueError(f"deviation must be at least 0, got {checks.span(deviation)}")
    axes = style.current(axes)
    color = palette.color(axes, len(axes.lines))
    axes.plot(x, mean, color=color, label=label)
    axes.fill_between(x, mean - deviation, mean + deviation, color=color, alpha=0.25, lw=0)
    style.open_frame(axes)
    if label is not None:
        style.name_lines(axes)
    return axes


def _mean(numbers: NDArray) -> str:
    """Return the mean, and the deviation if any, rounded to its first digit."""
    mean, deviation = numbers.mean(), numbers.std(ddof=1) if len(numbers) > 1 else 0.0
    if not deviation > 0:
        return f"{mean:.3g}"
    digits = max(0, -math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _edges(high: float, limit: float) -> NDArray:
    """Return the edges of 40 bins or a few more; the limit is one unless it is too low."""
    width = high / 40
    if width / 4 < limit < high:
        width = limit / math.ceil(limit / width)
    return width * np.arange(math.ceil(high / width) + 1)
