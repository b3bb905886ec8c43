"""Weights, feature maps and examples as pictures."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def filters(
    kernels: ArrayLike, *, columns: int | None = None, axes: "Axes | None" = None
) -> "Axes":
    """Draw kernels side by side: weights below 0 in blue, above 0 in orange.

    Args:
        kernels: Kernels of a convolution, (height, width, in, out), by default with one
            feature per column and, if there are several channels, one channel per row; or
            of units, (units, height, width).
        columns: Number of pictures side by side.
        axes: The axes to draw into.

    Raises:
        ValueError: If the kernels have another rank.

    Example:
        >>> kernels = jax.random.normal(jax.random.key(0), (3, 3, 1, 8))
        >>> fnn.plots.filters(kernels).get_title()
        ''
    """
    if np.ndim(kernels) == 4:
        kernels = arguments.numbers("kernels", kernels, "height", "width", "in", "out")
        height, width, channels, features = kernels.shape
        columns = columns or (features if channels > 1 else None)
        tiles = kernels.transpose(2, 3, 0, 1).reshape(-1, height, width)
    else:
        tiles = arguments.numbers("kernels", kernels, "units", "height", "width")
    mosaic = _mosaic(tiles, columns)
    axes = style.current(axes)
    limit = np.abs(tiles).max() or 1.0
    image = axes.imshow(mosaic, cmap=palette.signed(axes), vmin=-limit, vmax=limit)
    _label_mosaic(axes, image, "weight")
    return axes


def feature_maps(
    maps: ArrayLike, *, columns: int | None = None, axes: "Axes | None" = None
) -> "Axes":
    """Draw the channels of an image side by side, on one scale.

    Args:
        maps: (height, width, channels), for example the output of a convolution.
        columns: Number of pictures side by side.
        axes: The axes to draw into.

    Raises:
        ValueError: If the maps have another rank.

    Example:
        >>> fnn.plots.feature_maps(jax.numpy.ones((5, 5, 4))).images[0].get_array().shape
        (11, 11)
    """
    maps = arguments.numbers("maps", maps, "height", "width", "channels")
    mosaic = _mosaic(maps.transpose(2, 0, 1), columns)
    axes = style.current(axes)
    image = axes.imshow(mosaic, cmap="viridis")
    _label_mosaic(axes, image, "activation")
    return axes


def misclassified(
    images: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    *,
    limit: int = 24,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the images whose prediction is wrong, with "label → prediction" below each.

    Args:
        images: (examples, height, width, channels) or (examples, height, width), 0 to 1;
            one channel is drawn in grey.
        labels: The true classes, (examples,).
        predictions: The predicted classes, (examples,).
        limit: Largest number of images to draw.
        axes: The axes to draw into.

    Raises:
        ValueError: If the lengths differ, or the images have a wrong shape or values out of
            range.

    Example:
        >>> images, labels = jax.numpy.zeros((3, 8, 8, 1)), jax.numpy.array([1, 2, 3])
        >>> predictions = jax.numpy.array([1, 7, 3])
        >>> fnn.plots.misclassified(images, labels, predictions).get_title()
        '1 of 3 misclassified, label → prediction'
    """
    images = _pictures(images)
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    checks.leading_length(
        {"images": images, "labels": labels, "predictions": predictions},
        "misclassified",
    )
    checks.positive_integer("limit", limit)
    axes = style.current(axes)
    wrong = np.flatnonzero(labels != predictions)
    shown = wrong[:limit]
    columns = _columns(len(shown), aspect=2)
    for place, i in enumerate(shown):
        text = f"{labels[i]} → {predictions[i]}"
        _thumbnail(axes, images[i], text, *divmod(place, columns))
    _frame_thumbnails(axes, math.ceil(len(shown) / columns), columns)
    of = f" (showing {len(shown)})" if len(wrong) > len(shown) else ""
    axes.set_title(f"{len(wrong)} of {len(labels)} misclassified, label → prediction{of}")
    return axes


def influence(
    images: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[Any] | ArrayLike,
    *,
    limit: int = 8,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the training examples that helped a prediction most, and harmed it most.

    Source: Pruthi et al. 2020, "Estimating training data influence by tracing gradient
    descent".

    Args:
        images: (examples, height, width, channels) or (examples, height, width), 0 to 1.
        scores: Influence of each image on the prediction, (examples,): above 0 if training
            on the image lowered the prediction's loss.
        labels: The images' labels, written below them, (examples,).
        limit: Largest number of images in each of the two rows.
        axes: The axes to draw into.

    Raises:
        ValueError: If the lengths differ, or the images have a wrong shape or values out of
            range.

    Example:
        >>> images, labels = jax.numpy.zeros((4, 8, 8)), jax.numpy.array([1, 7, 1, 3])
        >>> axes = fnn.plots.influence(images, [0.5, -0.2, 0.1, 0.0], labels)
        >>> axes.texts[0].get_text().split()
        ['1', '+0.5']
    """
    images, labels = _pictures(images), np.asarray(labels)
    scores = arguments.numbers("scores", scores, "examples")
    checks.leading_length(
        {"images": images, "scores": scores, "labels": labels}, "influence"
    )
    checks.positive_integer("limit", limit)
    count = min(limit, max(len(scores) // 2, 1))
    order = np.argsort(-scores, kind="stable")
    axes = style.current(axes)
    for row, chosen in enumerate((order[:count], order[::-1][:count])):
        for column, i in enumerate(chosen):
            text = f"{labels[i]}\n{scores[i]:+.2g}".replace("-", "−")
            _thumbnail(axes, images[i], text, row, column, height=1.8)
    for row, text in enumerate(("helped", "harmed")):
        color = palette.color(axes, row)
        axes.text(
            -0.2, 1.8 * row + 0.5, text, ha="right", va="center", color=color, rotation=90
        )
    _frame_thumbnails(axes, 2, count, height=1.8)
    return axes


def _pictures(images: ArrayLike) -> NDArray:
    """Return images that can be shown, (examples, height, width[, 3])."""
    pictures = np.asarray(images)
    if pictures.ndim not in (3, 4) or pictures.shape[3:] not in ((), (1,), (3,)):
        raise ValueError(
            f"images must be (examples, height, width) with no, 1 or 3 channels, "
            f"got {checks.describe(pictures)}"
        )
    checks.values_between(pictures, 0, 1, "images", slack=1e-3)
    pictures = pictures[..., 0] if pictures.shape[3:] == (1,) else pictures
    return pictures.astype(np.float64)


def _mosaic(tiles: NDArray, columns: int | None) -> NDArray:
    """Return the tiles in rows, with gaps of NaN between them."""
    columns = columns or _columns(len(tiles))
    checks.positive_integer("columns", columns)
    rows = math.ceil(len(tiles) / columns)
    padded = np.pad(tiles, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    missing = rows * columns - len(tiles)
    padded = np.pad(padded, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    grid = padded.reshape(rows, columns, *padded.shape[1:]).transpose(0, 2, 1, 3)
    return grid.reshape(rows * padded.shape[1], -1)[:-1, :-1]


def _columns(count: int, aspect: float = 1) -> int:
    """Return a number of columns that fills the rows, or else fits the aspect."""
    least = max(1, math.ceil(math.sqrt(aspect * count)))
    return next((n for n in range(least, 2 * least) if count % n == 0), least)


def _label_mosaic(axes: "Axes", image: Any, label: str) -> None:
    """Remove frame and ticks; draw the scale of the colours along the longer side."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    height, width = image.get_array().shape
    if width > 1.6 * height:
        style.scale_bar(axes, image, label, "bottom")
        return
    frame = axes.get_window_extent()
    room = 0.85 * frame.width  # the bar and its ticks take the rest
    style.scale_bar(axes, image, label, shrink=min(1, room * height / width / frame.height))


def _thumbnail(
    axes: "Axes", image: NDArray, text: str, row: int, column: int, height: float = 1.5
) -> None:
    """Draw a small image with a text below it."""
    left, top = 1.2 * column, height * row
    place = (left, left + 1, top + 1, top)
    axes.imshow(image, cmap=palette.grey(axes), vmin=0, vmax=1, extent=place)
    axes.text(left + 0.5, top + 1.05, text, ha="center", va="top")


def _frame_thumbnails(axes: "Axes", rows: int, columns: int, height: float = 1.5) -> None:
    """Fit the axes around the small images."""
    axes.set_xlim(-0.1, 1.2 * columns - 0.1)
    axes.set_ylim(height * max(rows, 1), -0.1)
    axes.set_aspect("equal")
    axes.axis("off")
