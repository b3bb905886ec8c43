"""Colours, themes, legends: what all pictures share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fnn import checks
from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Okabe and Ito 2008, "Color universal design": apart for the colour-blind too. First come
# those with the most contrast to the background; hues keep their places in both orders.
COLORS = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",
    "#F0E442",  # yellow
)
DARK_COLORS = (
    "#56B4E9",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#F0E442",
    "#D55E00",
    "#0072B2",
    "#FFFFFF",
)
TRAINING, VALIDATION = COLORS[:2]

SHARED: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 120,
}
INK, PAPER, PENCIL = "#E8E8E8", "#16181D", "#9AA0A6"
DARK: dict[str, Any] = {
    "axes.edgecolor": PENCIL,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "figure.edgecolor": PAPER,
    "figure.facecolor": PAPER,
    "grid.color": PENCIL,
    "lines.color": INK,
    "patch.edgecolor": INK,
    "savefig.edgecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "xtick.color": PENCIL,
    "xtick.labelcolor": INK,
    "ytick.color": PENCIL,
    "ytick.labelcolor": INK,
}


def theme(name: Literal["light", "dark"]) -> AbstractContextManager[None]:
    """Return a context in which figures are made for a light or a dark background.

    It holds matplotlib's defaults and what suits these pictures: Okabe and Ito's colours
    for lines, a constrained layout, no box around legends. Nothing of it stays after it.

    Source: Okabe and Ito 2008, "Color universal design".

    Args:
        name: "light" or "dark".

    Returns:
        A context manager; figures are to be made and drawn within.

    Raises:
        ValueError: If the name is another one.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> with fnn.plots.theme("dark"):
        ...     axes = fnn.plots.learning_curve({"loss": [2.0, 1.0]})
        >>> axes.xaxis.label.get_color()
        '#E8E8E8'
    """
    checks.one_of("name", name, ("light", "dark"))
    pyplot()
    from matplotlib import style
    from matplotlib.rcsetup import cycler

    colors = DARK_COLORS if name == "dark" else COLORS
    settings = SHARED | (DARK if name == "dark" else {})
    settings |= {"axes.prop_cycle": cycler(color=colors)}
    return style.context(settings, after_reset=True)


def pyplot() -> Any:
    """Return matplotlib's pyplot, or say how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("fnn.plots needs matplotlib: pip install 'fnn[plots]'") from error
    return plt


def current(axes: "Axes | None") -> "Axes":
    """Return the axes, or else the current ones, in a layout with room for text."""
    if axes is not None:
        return axes
    plt = pyplot()
    if not plt.get_fignums():
        plt.figure(layout="constrained")
    return plt.gca()


def background(axes: "Axes") -> NDArray:
    """Return the colour behind the data, (3,)."""
    from matplotlib.colors import to_rgba

    *color, opacity = to_rgba(axes.get_facecolor())
    if opacity == 0:
        *color, _ = to_rgba(axes.figure.canvas.figure.get_facecolor())
    return np.array(color)


def luminance(color: Any) -> float:
    """Return how light a colour is, from 0 to 1."""
    from matplotlib.colors import to_rgb

    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def is_dark(axes: "Axes") -> bool:
    """Return whether the background is dark."""
    return luminance(background(axes)) < 0.5


def color(axes: "Axes", i: int) -> str:
    """Return the i-th colour for these axes; after eight they begin anew."""
    return (DARK_COLORS if is_dark(axes) else COLORS)[i % len(COLORS)]


def line_style(axes: "Axes", i: int) -> dict[str, Any]:
    """Return colour and dashes of the i-th line: after eight colours come other dashes."""
    dashes = ("-", "--", ":", "-.")[i // len(COLORS) % 4]
    return {"color": color(axes, i), "linestyle": dashes}


def pencil() -> dict[str, Any]:
    """Return the look of what only guides the eye."""
    from matplotlib import rcParams

    return {"color": rcParams["axes.edgecolor"], "linewidth": 1, "alpha": 0.6}


def readable_on(color: Any) -> str:
    """Return black or white, whichever can be read on the colour."""
    return "black" if luminance(color) > 0.5 else "white"


def text_color() -> str:
    """Return the colour of text in the present theme."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def from_background(axes: "Axes", *colors: str) -> "Colormap":
    """Return the map from the background to the last colour."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", [tuple(background(axes)), *colors])


def sequential(axes: "Axes") -> "Colormap":
    """Return the map for lines and points: viridis without what the background hides."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    low, high = (0.25, 1.0) if is_dark(axes) else (0.0, 0.9)
    return ListedColormap(colormaps["viridis"](np.linspace(low, high, 256)))


def grey(axes: "Axes") -> "Colormap":
    """Return the map from the background to the colour of text: ink on paper."""
    return from_background(axes, text_color())


def signed(axes: "Axes") -> "Colormap":
    """Return the map from blue over the background to orange, for numbers of both signs."""
    from matplotlib.colors import LinearSegmentedColormap

    light = ("#00304B", "#0072B2"), ("#D55E00", "#5C2900")
    dark = ("#C8E6F9", "#56B4E9"), ("#E69F00", "#FBE7BD")
    low, high = dark if is_dark(axes) else light
    return LinearSegmentedColormap.from_list("", [*low, tuple(background(axes)), *high])


def open_frame(axes: "Axes") -> None:
    """Leave the axes two sides of their frame and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def scale_bar(axes: "Axes", image: Any, label: str, location: str = "right") -> None:
    """Draw what the colours stand for beside the axes."""
    bar = axes.figure.colorbar(image, ax=axes, label=label, location=location, aspect=25)
    bar.outline.set_visible(False)


def name_ticks(axis: Any, names: Sequence[str] | None, first: int = 0) -> None:
    """Tick what stands at first, first + 1, ...: each by its name, else some by number."""
    from matplotlib.ticker import MaxNLocator

    if names is None:
        axis.set_major_locator(MaxNLocator(20, integer=True, steps=[1, 2, 5, 10]))
        return
    axis.set_ticks(range(first, first + len(names)), names)
    if axis.axis_name == "x" and max(map(len, names)) * len(names) > 40:
        for label in axis.get_ticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")


def name_lines(axes: "Axes") -> None:
    """Name the lines: if there are many, beside the axes and in the order of their ends."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) <= 3:
        axes.legend(frameon=False)
        return
    ends = [_end(handle) for handle in handles]
    order = sorted(range(len(handles)), key=lambda i: -ends[i])
    name_beside(axes, [handles[i] for i in order], [labels[i] for i in order])


def name_beside(axes: "Axes", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Name what is drawn beside the axes, so that the names cover nothing."""
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _end(artist: Any) -> float:
    """Return the last height of a line; what has none is named after the lines."""
    heights = artist.get_ydata() if hasattr(artist, "get_ydata") else []
    last = heights[-1] if len(heights) else -np.inf
    return np.inf if np.isnan(last) else float(last)
