"""The right and wrong predictions of a classifier, and its decision regions."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^Dvp*X"


def confusion_matrix(
    matrix: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    normalize: bool = False,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a confusion matrix: right predictions in blue, wrong ones in orange.

    The strength of a cell's colour is the cube root of its share of the row's examples,
    so one mistake in a hundred is still visible.

    Args:
        matrix: Counts; rows are labels and columns predictions, (classes, classes).
        names: Names of the classes.
        normalize: Whether to write percentages of the row instead of counts.
        axes: The axes to draw into.

    Raises:
        ValueError: If the matrix is not square, or `names` has another length.

    Example:
        >>> axes = fnn.plots.confusion_matrix([[8, 2], [0, 5]], ["cat", "dog"])
        >>> [text.get_text() for text in axes.texts]
        ['8', '2', '0', '5']
    """
    counts = arguments.numbers("matrix", matrix, "classes", "classes")
    counts = arguments.numbers("matrix", counts, len(counts), len(counts))
    if counts.min() < 0:
        raise ValueError(f"matrix must be counts of at least 0, got {checks.span(counts)}")
    if names is not None:
        names = arguments.names_of(names, len(counts), "classes")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes = style.current(axes)
    colors = _cells(axes, shares)
    axes.imshow(colors)
    if len(counts) <= 20:
        for i, j in np.ndindex(*counts.shape):
            text = f"{100 * shares[i, j]:.0f}" if normalize else f"{counts[i, j]:.0f}"
            cell = axes.text(j, i, text, ha="center", va="center")
            cell.set_color(palette.readable_on(colors[i, j]))
            cell.set_alpha(1 if counts[i, j] else 0.35)
    style.name_ticks(axes.xaxis, names)
    style.name_ticks(axes.yaxis, names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label" + " (rows in %)" * normalize)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes


def decision_regions(
    predict: Callable[[NDArray], ArrayLike],
    x: ArrayLike,
    labels: ArrayLike,
    *,
    resolution: int = 200,
    names: Sequence[str] | None = None,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the class that a classifier predicts at each point of the plane, and examples.

    Args:
        predict: Maps points, (points, 2), to classes, (points,), or to probabilities,
            (points, classes); less certain regions are paler.
        x: The examples, (examples, 2).
        labels: Their classes, (examples,).
        resolution: Number of points along each axis.
        names: Names of the classes.
        axes: The axes to draw into.

    Raises:
        ValueError: If a shape is wrong.

    Example:
        >>> x, labels = jax.numpy.array([[0.0, 0.0], [1.0, 1.0]]), jax.numpy.array([0, 1])
        >>> right = lambda x: (x[:, 0] > 0.5).astype(int)
        >>> axes = fnn.plots.decision_regions(right, x, labels)
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['0', '1']
    """
    dtype = np.result_type(np.asarray(x).dtype, np.float32)
    x = arguments.numbers("x", x, "examples", 2)
    labels = arguments.classes("labels", labels)
    checks.leading_length({"x": x, "labels": labels}, "decision_regions")
    checks.positive_integer("resolution", resolution)
    margin = 0.08 * np.maximum(np.ptp(x, axis=0), 1e-3)
    low, high = x.min(0) - margin, x.max(0) + margin
    sides = np.linspace(low, high, resolution)
    grid = np.stack(np.meshgrid(*sides.T), -1)
    chances = _chances(predict(grid.reshape(-1, 2).astype(dtype)), labels.max() + 1)
    classes = chances.shape[1]
    names = arguments.names_of(names or range(classes), classes, "classes")
    chances = chances.reshape(resolution, resolution, -1)

    axes = style.current(axes)
    _regions(axes, chances, sides)
    for i in np.unique(labels):
        axes.scatter(
            x[labels == i, 0],
            x[labels == i, 1],
            color=palette.color(axes, i),
            marker=MARKERS[i % len(MARKERS)],
            s=float(np.clip(4000 / len(x), 14, 60)),
            edgecolors=[tuple(palette.background(axes))],
            linewidths=0.6,
            label=names[i],
            zorder=3,
        )
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    style.name_beside(axes, *axes.get_legend_handles_labels())
    return axes


def _cells(axes: "Axes", shares: NDArray) -> NDArray:
    """Return the colours of the cells of a confusion matrix, (classes, classes, 3)."""
    from matplotlib.colors import to_rgb

    right, wrong = (np.array(to_rgb(palette.color(axes, i))) for i in (0, 1))
    hues = np.where(np.eye(len(shares), dtype=bool)[..., None], right, wrong)
    strength = np.cbrt(shares)[..., None]
    return strength * hues + (1 - strength) * palette.background(axes)


def _chances(output: ArrayLike, classes: int) -> NDArray:
    """Return probabilities, (points, classes); classes, (points,), become one-hot."""
    values = np.asarray(output)
    if values.ndim == 1 and values.dtype.kind in "iu":
        return np.eye(max(classes, values.max() + 1))[values]
    if values.ndim == 2 and values.shape[1] >= max(classes, 2):
        return values.astype(np.float64)
    raise ValueError(
        f"predict must return integer classes (points,) or probabilities "
        f"(points, {classes} or more), got {checks.describe(values)}"
    )


def _regions(axes: "Axes", chances: NDArray, sides: NDArray) -> None:
    """Fill the regions, and draw their borders, where two classes are equally likely."""
    from matplotlib.colors import to_rgb

    classes = chances.shape[-1]
    hues = np.array([to_rgb(palette.color(axes, i)) for i in range(classes)])
    sure = (chances.max(-1, keepdims=True) - 1 / classes) / (1 - 1 / classes)
    strength = 0.08 + 0.27 * np.clip(sure, 0, 1)
    image = strength * hues[chances.argmax(-1)] + (1 - strength) * palette.background(axes)
    (left, bottom), (right, top) = sides[0], sides[-1]
    axes.imshow(image, origin="lower", extent=(left, right, bottom, top), aspect="auto")
    for i in range(classes if classes > 2 else 1):
        rivals = np.delete(chances, i, -1).max(-1)
        lead: Any = chances[..., i] - rivals
        if lead.min() < 0 < lead.max():
            ink = [palette.text_color()]
            axes.contour(*sides.T, lead, levels=[0], colors=ink, linewidths=0.9)
