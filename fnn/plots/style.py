"""Frames, scales and names of all pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pyplot() -> Any:
    """Return matplotlib's pyplot, or raise with the command that installs it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("fnn.plots needs matplotlib: pip install 'fnn[plots]'") from error
    return plt


def current(axes: "Axes | None") -> "Axes":
    """Return the given or current axes, in a layout with room for text."""
    if axes is not None:
        return axes
    plt = pyplot()
    if not plt.get_fignums():
        plt.figure(layout="constrained")
    return plt.gca()


def open_frame(axes: "Axes") -> None:
    """Reduce the axes' frame to two sides, and add a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def make_logarithmic(axes: "Axes") -> None:
    """Make the y axis logarithmic; over few decades, write plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 1000:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def scale_bar(
    axes: "Axes",
    image: Any,
    label: str,
    location: Literal["right", "bottom"] = "right",
    shrink: float = 1,
) -> None:
    """Draw the scale of the colours beside the axes, as long as the picture."""
    place: dict[str, Any] = {"location": location, "shrink": shrink, "aspect": 25 * shrink}
    bar = axes.figure.colorbar(image, ax=axes, label=label, **place)
    bar.outline.set_visible(False)


def name_ticks(axis: Any, names: Sequence[str] | None, first: int = 0) -> None:
    """Set ticks at first, first + 1, ...: all by name, or some by number."""
    from matplotlib.ticker import MaxNLocator

    if names is None:
        axis.set_major_locator(MaxNLocator(20, integer=True, steps=[1, 2, 5, 10]))
        return
    axis.set_ticks(range(first, first + len(names)), names)
    if axis.axis_name == "x" and max(map(len, names)) * len(names) > 40:
        for label in axis.get_ticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")


def name_lines(axes: "Axes") -> None:
    """Name the lines; if there are many, beside the axes in the order of their ends."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) <= 3:
        axes.legend(frameon=False)
        return
    ends = [_end(handle) for handle in handles]
    order = sorted(range(len(handles)), key=lambda i: -ends[i])
    name_beside(axes, [handles[i] for i in order], [labels[i] for i in order])


def name_beside(axes: "Axes", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Write the legend beside the axes, where it covers nothing."""
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _end(artist: Any) -> float:
    """Return the last height of a line; others sort after all lines."""
    heights = artist.get_ydata() if hasattr(artist, "get_ydata") else []
    last = heights[-1] if len(heights) else -np.inf
    return np.inf if np.isnan(last) else float(last)
