"""Signals from layer to layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def signals(
    values: Mapping[str, ArrayLike],
    *,
    names: Sequence[str] | None = None,
    label: str = "standard deviation",
    log: bool = True,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a measure of the signal in each layer, one line per network.

    Args:
        values: For each network's name, the measure in each layer, (layers,): the
            deviation of activations, or the norm of gradients.
        names: Names of the layers.
        label: The name of the measure.
        log: Whether the measure's axis is logarithmic.
        axes: The axes to draw into.

    Raises:
        ValueError: If a network's number of layers is not that of `names`, or a value is
            below 0 on a logarithmic axis.

    Example:
        >>> values = {"sigmoid": [0.2, 0.01, 0.0005], "ReLU": [1.0, 0.9, 1.1]}
        >>> fnn.plots.signals(values).get_ylabel()
        'standard deviation'
    """
    arguments.named("values", values)
    lines = {k: arguments.numbers("values", v, "layers") for k, v in values.items()}
    layers = max(map(len, lines.values()))
    if names is not None:
        names = arguments.names_of(names, layers, "layers")
    _visible(np.concatenate(list(lines.values())), log)
    axes = style.current(axes)
    for i, (name, line) in enumerate(lines.items()):
        look = palette.line_style(axes, i)
        depth = np.arange(1, len(line) + 1)
        axes.plot(depth, line, marker="o", markersize=4, **look, label=name)
    if log:
        axes.set_yscale("log")
    style.open_frame(axes)
    axes.set_xlabel("layer")
    axes.set_ylabel(label)
    style.name_ticks(axes.xaxis, names, first=1)
    style.name_lines(axes)
    return axes


def signals_over_training(
    values: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    label: str = "standard deviation",
    log: bool = True,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a measure of the signal in each layer over the epochs, as a colour map.

    Args:
        values: (epochs, layers).
        names: Names of the layers.
        label: The name of the measure.
        log: Whether the measure's scale is logarithmic.
        axes: The axes to draw into.

    Raises:
        ValueError: If the number of layers is not that of `names`, or a value is below 0
            on a logarithmic scale.

    Example:
        >>> axes = fnn.plots.signals_over_training([[1.0, 0.5], [1.2, 0.7]])
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('epoch', 'layer')
    """
    from matplotlib.colors import LogNorm, Normalize

    values = arguments.numbers("values", values, "epochs", "layers")
    epochs, layers = values.shape
    if names is not None:
        names = arguments.names_of(names, layers, "layers")
    seen = _visible(values, log)
    axes = style.current(axes)
    scale = (LogNorm if log else Normalize)(seen.min(), seen.max())
    image = axes.imshow(
        values.T,
        norm=scale,
        cmap="viridis",
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, epochs + 0.5, layers + 0.5, 0.5),
    )
    axes.set_xlabel("epoch")
    axes.set_ylabel("layer")
    style.name_ticks(axes.xaxis, None)
    style.name_ticks(axes.yaxis, names, first=1)
    style.scale_bar(axes, image, label)
    return axes


def histograms(values: Mapping[str, ArrayLike], *, axes: "Axes | None" = None) -> "Axes":
    """Draw the distribution of values in each layer, one ridge below the other.

    Each ridge has its own height. Values that are exactly 0, such as those of units
    switched off by a ReLU, are written as a share instead.

    Args:
        values: For each layer's name, its values, such as activations, of any shape.
        axes: The axes to draw into.

    Raises:
        ValueError: If `values` is empty, or a layer has no values.

    Example:
        >>> values = {"dense_0": [0.1, 0.2, 0.2], "dense_1": [-0.3, 0.0, 0.4]}
        >>> axes = fnn.plots.histograms(values)
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['dense_0', 'dense_1']
    """
    arguments.named("values", values)
    flat = {
        name: arguments.numbers("values", np.ravel(np.asarray(v)), "values")
        for name, v in values.items()
    }
    pooled = _visible(np.concatenate(list(flat.values())), log=False)
    low = np.percentile(pooled, 0.1, method="lower")
    high = np.percentile(pooled, 99.9, method="higher")
    edges = np.linspace(low, high if high > low else low + 1, 81)
    axes = style.current(axes)
    for row, numbers in enumerate(flat.values()):
        counts, _ = np.histogram(numbers[numbers != 0], edges)
        heights = -0.9 * counts / max(counts.max(), 1)
        axes.stairs(
            row + heights,
            edges,
            baseline=row,
            fill=True,
            color=palette.color(axes, 0),
            alpha=0.6,
        )
        axes.axhline(row, **palette.pencil())
        zeros = np.mean(numbers == 0)
        if zeros >= 0.005:
            axes.text(edges[-1], row - 0.08, f"{zeros:.0%} are 0", ha="right", va="bottom")
    axes.set_yticks(range(len(flat)), list(flat))
    axes.set_ylim(len(flat) - 0.5, -1)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("value")
    return axes


def _visible(values: NDArray, log: bool) -> NDArray:
    """Return the finite values that the scale can show, or raise without any."""
    if log and values.min() < 0:
        raise ValueError(
            f"values must be at least 0 where log=True, got {checks.span(values)}"
        )
    seen = values[np.isfinite(values) & (values > 0 if log else True)]
    if not seen.size:
        above = " above 0 where log=True" if log else ""
        raise ValueError(f"values must have a finite number{above}, got none")
    return seen
