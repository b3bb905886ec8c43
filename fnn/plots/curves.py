"""Curves over epochs and over learning rates."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BROKEN = (0, (2, 1.5))  # dashes of two line widths, gaps of one and a half


def learning_curve(
    history: Mapping[str, ArrayLike], name: str = "loss", *, axes: "Axes | None" = None
) -> "Axes":
    """Draw a metric over the epochs: for training, and for validation if measured.

    Args:
        history: The history that `fnn.fit` returns.
        name: The metric's name.
        axes: The axes to draw into.

    Raises:
        ValueError: If the history does not have the metric.

    Example:
        >>> history = {"loss": [2.0, 1.0], "val_loss": [2.1, 1.5]}
        >>> fnn.plots.learning_curve(history).get_ylabel()
        'loss'
    """
    curves = _curves(history, name)
    axes = style.current(axes)
    for i, (label, values) in enumerate(curves.items()):
        look = palette.line_style(axes, i)
        axes.plot(_epochs(values), values, **look, **_dots(values), label=label)
    _label_epochs(axes, name)
    style.name_lines(axes)
    return axes


def learning_curves(
    histories: Mapping[str, Mapping[str, ArrayLike]],
    name: str = "loss",
    *,
    log: bool = False,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a metric of several trainings over the epochs, with validation dashed.

    Args:
        histories: Histories that `fnn.fit` returned, by name.
        name: The metric's name.
        log: Whether the metric's axis is logarithmic.
        axes: The axes to draw into.

    Raises:
        ValueError: If a history does not have the metric.

    Example:
        >>> histories = {"SGD": {"loss": [2.0, 1.5]}, "Adam": {"loss": [2.0, 0.5]}}
        >>> axes = fnn.plots.learning_curves(histories)
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['SGD', 'Adam']
    """
    arguments.named("histories", histories)
    curves = {label: _curves(history, name) for label, history in histories.items()}
    axes = style.current(axes)
    for i, (label, both) in enumerate(curves.items()):
        look = palette.line_style(axes, i)
        training = both.pop("training")
        axes.plot(_epochs(training), training, **look, **_dots(training), label=label)
        for validation in both.values():
            axes.plot(
                _epochs(validation), validation, color=look["color"], linestyle=BROKEN
            )
    if any(curves.values()):
        axes.plot([], [], color=palette.text_color(), linestyle=BROKEN, label="validation")
    if log:
        style.make_logarithmic(axes)
    _label_epochs(axes, name)
    style.name_lines(axes)
    return axes


def learning_rate_range(
    rates: ArrayLike,
    losses: ArrayLike,
    *,
    suggested: float | None = None,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the loss over a growing learning rate, to choose one before divergence.

    Source: Smith 2017, "Cyclical learning rates for training neural networks".

    Args:
        rates: Above 0, (steps,).
        losses: The loss at each rate, (steps,).
        suggested: A rate to mark.
        axes: The axes to draw into.

    Raises:
        ValueError: If the lengths differ, or a rate is not above 0.

    Example:
        >>> rates, losses = [1e-3, 1e-2, 1e-1], [2.0, 1.0, 9.0]
        >>> fnn.plots.learning_rate_range(rates, losses, suggested=1e-2).get_xscale()
        'log'
    """
    rates = arguments.numbers("rates", rates, "steps")
    losses = arguments.numbers("losses", losses, len(rates))
    if rates.min() <= 0:
        raise ValueError(f"rates must be above 0, got {checks.span(rates)}")
    if not np.isfinite(losses[0]):
        raise ValueError(f"losses must begin with a finite number, got {losses[0]}")
    axes = style.current(axes)
    axes.plot(rates, losses, color=palette.color(axes, 0))
    axes.set_xscale("log")
    style.open_frame(axes)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.set_ylim(*_before_divergence(losses))
    if suggested is not None:
        label = f"suggested: {suggested:.2g}"
        axes.axvline(suggested, color=palette.color(axes, 1), linestyle="--", label=label)
        style.name_lines(axes)
    return axes


def _before_divergence(losses: NDArray) -> tuple[float, float]:
    """Return limits that show the descent, and the beginning of a divergence."""
    finite = losses[np.isfinite(losses)]
    low, high = finite.min(), finite.max()
    descent = (finite[0] - low) or (high - low) or 1.0
    return low - 0.1 * descent, min(high, finite[0] + 0.5 * descent) + 0.1 * descent


def _curves(history: Mapping[str, ArrayLike], name: str) -> dict[str, NDArray]:
    """Return a metric in training, and in validation if it was measured."""
    checks.one_of("name", name, tuple(history))
    found = {"training": name, "validation": f"val_{name}"}
    return {
        label: arguments.numbers(f"{key} of the history", history[key], "epochs")
        for label, key in found.items()
        if key in history
    }


def _epochs(values: NDArray) -> NDArray:
    """Return the numbers of the epochs, from 1."""
    return np.arange(1, len(values) + 1)


def _dots(values: NDArray) -> dict[str, Any]:
    """Return the marker of a line: a single epoch is a point, or it would be invisible."""
    return {"marker": "o" if len(values) == 1 else ""}


def _label_epochs(axes: "Axes", name: str) -> None:
    """Label the axes of a metric over epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_ylabel(name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.open_frame(axes)
