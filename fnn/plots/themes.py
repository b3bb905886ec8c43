"""Light and dark backgrounds."""

from contextlib import AbstractContextManager
from typing import Any, Literal

from fnn import checks
from fnn.plots import style
from fnn.plots.palette import COLORS, DARK_COLORS

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

    It sets matplotlib's defaults, Okabe and Ito's colours for lines, a constrained layout,
    and legends without a box. The old settings return after it.

    Source: Okabe and Ito 2008, "Color universal design".

    Args:
        name: "light" or "dark".

    Returns:
        A context manager; make and draw figures inside it.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> with fnn.plots.theme("dark"):
        ...     axes = fnn.plots.learning_curve({"loss": [2.0, 1.0]})
        >>> axes.xaxis.label.get_color()
        '#E8E8E8'
    """
    checks.one_of("name", name, ("light", "dark"))
    style.pyplot()
    from matplotlib.rcsetup import cycler
    from matplotlib.style import context

    colors = DARK_COLORS if name == "dark" else COLORS
    settings = SHARED | (DARK if name == "dark" else {})
    settings |= {"axes.prop_cycle": cycler(color=colors)}
    return context(settings, after_reset=True)
