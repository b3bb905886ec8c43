"""Pictures of arrays, drawn by matplotlib (extra `plots`).

Every function draws into the axes that it is given, or into the current ones, and returns
them.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two of the Okabe-Ito colours, which remain apart for the colour-blind.
TRAINING, VALIDATION = "#0072B2", "#D55E00"


def learning_curve(
    history: Mapping[str, ArrayLike], name: str = "loss", *, axes: "Axes | None" = None
) -> "Axes":
    """Draw a metric over the epochs: for training, and for validation if there is any.

    Args:
        history: As `fnn.fit` returns it.
        name: Which metric.
        axes: Where to draw.

    Raises:
        ValueError: If the history does not have the metric.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> history = {"loss": [2.0, 1.0], "val_loss": [2.1, 1.5]}
        >>> fnn.plots.learning_curve(history).get_ylabel()
        'loss'
    """
    checks.one_of("name", name, tuple(history))
    axes = _axes(axes)
    epochs = np.arange(1, np.size(history[name]) + 1)
    axes.plot(epochs, history[name], color=TRAINING, label="training")
    if f"val_{name}" in history:
        values = history[f"val_{name}"]
        axes.plot(epochs, values, color=VALIDATION, label="validation")
    axes.set_xlabel("epoch")
    axes.set_ylabel(name.replace("_", " "))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
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
        limit: How many to draw at most.
        axes: Where to draw.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> images, labels = jax.numpy.zeros((3, 8, 8, 1)), jax.numpy.array([1, 2, 3])
        >>> predictions = jax.numpy.array([1, 7, 3])
        >>> fnn.plots.misclassified(images, labels, predictions).get_title()
        '1 of 3 misclassified, label → prediction'
    """
    images, labels, predictions = map(np.asarray, (images, labels, predictions))
    checks.leading_length(
        {"images": images, "labels": labels, "predictions": predictions},
        "misclassified",
    )
    axes = _axes(axes)
    wrong = np.flatnonzero(labels != predictions)
    shown = wrong[:limit]
    columns = max(1, math.ceil(math.sqrt(2 * len(shown))))
    for place, i in enumerate(shown):
        row, column = divmod(place, columns)
        left, top = 1.2 * column, 1.5 * row
        image = images[i].squeeze()
        axes.imshow(
            image, cmap="gray_r", vmin=0, vmax=1, extent=(left, left + 1, top + 1, top)
        )
        text = f"{labels[i]} → {predictions[i]}"
        axes.text(left + 0.5, top + 1.05, text, ha="center", va="top")
    rows = math.ceil(len(shown) / columns)
    axes.set_xlim(-0.1, 1.2 * columns)
    axes.set_ylim(1.5 * max(rows, 1), -0.1)
    axes.set_aspect("equal")
    axes.axis("off")
    of = f" (showing {len(shown)})" if len(wrong) > len(shown) else ""
    axes.set_title(f"{len(wrong)} of {len(labels)} misclassified, label → prediction{of}")
    return axes


def _axes(axes: "Axes | None") -> "Axes":
    if axes is not None:
        return axes
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("fnn.plots needs matplotlib: pip install 'fnn[plots]'") from error
    return plt.gca()
