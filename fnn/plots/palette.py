"""Colours: of lines, of text, and from numbers to colours."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.types import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Okabe and Ito 2008, "Color universal design": distinct for the colour-blind too. Colours
# with the most contrast to the background come first; hues keep their places in both.
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
    """Return the i-th colour for these axes; after eight they repeat."""
    return (DARK_COLORS if is_dark(axes) else COLORS)[i % len(COLORS)]


def line_style(axes: "Axes", i: int) -> dict[str, Any]:
    """Return colour and dashes of the i-th line: after eight colours the dashes change."""
    dashes = ("-", "--", ":", "-.")[i // len(COLORS) % 4]
    return {"color": color(axes, i), "linestyle": dashes}


def pencil() -> dict[str, Any]:
    """Return the style of lines that only guide the eye."""
    from matplotlib import rcParams

    return {"color": rcParams["axes.edgecolor"], "linewidth": 1, "alpha": 0.6}


def text_color() -> str:
    """Return the colour of text in the present theme."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def readable_on(color: Any) -> str:
    """Return black or white, whichever is readable on the colour."""
    return "black" if luminance(color) > 0.5 else "white"


def from_background(axes: "Axes", color: str) -> "Colormap":
    """Return the map from the background to a colour."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", [tuple(background(axes)), color])


def grey(axes: "Axes") -> "Colormap":
    """Return the map from the background to the colour of text: ink on paper."""
    return from_background(axes, text_color())


def sequential(axes: "Axes") -> "Colormap":
    """Return the map for lines and points: viridis without shades near the background."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    low, high = (0.25, 1.0) if is_dark(axes) else (0.0, 0.9)
    return ListedColormap(colormaps["viridis"](np.linspace(low, high, 256)))


def signed(axes: "Axes") -> "Colormap":
    """Return the map from blue over the background to orange, for numbers of both signs."""
    from matplotlib.colors import LinearSegmentedColormap

    light = ("#00304B", "#0072B2"), ("#D55E00", "#5C2900")
    dark = ("#C8E6F9", "#56B4E9"), ("#E69F00", "#FBE7BD")
    low, high = dark if is_dark(axes) else light
    return LinearSegmentedColormap.from_list("", [*low, tuple(background(axes)), *high])
