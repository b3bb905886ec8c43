"""Surfaces of two variables, and the paths of optimizers on them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from fnn.plots import arguments, palette, style
from fnn.types import Array, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def paths(
    function: Callable[[Array], Array],
    paths: Mapping[str, ArrayLike],
    *,
    low: ArrayLike,
    high: ArrayLike,
    minimum: ArrayLike | None = None,
    log: bool = True,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw paths of optimizers over the contours of a function of two variables.

    Hills are grey. The ends of the paths are marked, and the minimum by a star.

    Args:
        function: A JAX function from a point, (2,), to a number, ().
        paths: For each name, the points in order, (steps, 2).
        low: The lower left corner, (2,), or one number for both axes.
        high: The upper right corner, likewise.
        minimum: A point to mark, (2,).
        log: Whether contours have logarithmic distances from the least value.
        axes: The axes to draw into.

    Raises:
        ValueError: If a path is not a sequence of points, or if `high` is not above `low`.

    Example:
        >>> bowl = lambda w: jax.numpy.sum(w**2)
        >>> path = jax.numpy.array([[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]])
        >>> axes = fnn.plots.paths(bowl, {"SGD": path}, low=-2, high=2, minimum=(0, 0))
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('$w_1$', '$w_2$')
    """
    arguments.named("paths", paths)
    lines = {k: arguments.numbers("paths", v, "steps", 2) for k, v in paths.items()}
    low, high = _corner("low", low), _corner("high", high)
    if not np.all(low < high):
        raise ValueError(f"high must be above low, got low={low} and high={high}")
    if minimum is not None:
        minimum = arguments.numbers("minimum", minimum, 2)
    sides = np.linspace(low, high, 200)
    heights = _heights(function, sides)
    axes = style.current(axes)
    _draw_hills(axes, sides, _from_minimum(heights) if log else heights)
    ink = palette.text_color()
    for i, (name, line) in enumerate(lines.items()):
        look = palette.line_style(axes, i)
        axes.plot(*line.T, **look, label=name)
        axes.plot(*line[-1], "o", color=look["color"], markersize=6)
    for start in {tuple(line[0]) for line in lines.values()}:
        axes.plot(*start, "o", color=ink, markersize=5)
    if minimum is not None:
        axes.plot(*minimum, "*", color=ink, markersize=13)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_xlabel("$w_1$")
    axes.set_ylabel("$w_2$")
    style.name_beside(axes, *axes.get_legend_handles_labels())
    return axes


def surface(
    alphas: ArrayLike,
    betas: ArrayLike,
    losses: ArrayLike,
    *,
    log: bool = False,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a slice of a loss surface; a cross marks (0, 0), the trained parameters.

    Source: Li et al. 2018, "Visualizing the loss landscape of neural nets".

    Args:
        alphas: Steps along the first direction, (n,).
        betas: Steps along the second one, (m,).
        losses: The loss at each pair of steps, (n, m).
        log: Whether the scale of the loss is logarithmic.
        axes: The axes to draw into.

    Raises:
        ValueError: If the losses have a wrong shape, or one is not above 0 on a logarithmic
            scale.

    Example:
        >>> steps = jax.numpy.linspace(-1, 1, 5)
        >>> losses = jax.numpy.add.outer(steps**2, steps**2)
        >>> fnn.plots.surface(steps, steps, losses).get_xlabel()
        'step along the first direction'
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    alphas = arguments.numbers("alphas", alphas, "n")
    betas = arguments.numbers("betas", betas, "m")
    losses = arguments.numbers("losses", losses, len(alphas), len(betas))
    finite = losses[np.isfinite(losses)]
    if not finite.size or (log and finite.min() <= 0):
        raise ValueError("losses must be finite, and above 0 where log=True")
    axes = style.current(axes)
    limits = _limits(finite)
    levels = (np.geomspace if log else np.linspace)(*limits, 24)
    norm = (LogNorm if log else Normalize)(*limits)
    filled = axes.contourf(alphas, betas, losses.T, levels, cmap="viridis", norm=norm)
    axes.contour(filled, colors="white", linewidths=0.4, alpha=0.5)
    if min(alphas) <= 0 <= max(alphas) and min(betas) <= 0 <= max(betas):
        axes.plot(0, 0, "+", color="white", markersize=12, markeredgewidth=2)
    axes.locator_params(nbins=5)
    axes.set_xlabel("step along the first direction")
    axes.set_ylabel("step along the second direction")
    style.scale_bar(axes, ScalarMappable(norm, "viridis"), "loss")
    return axes


def _heights(function: Callable[[Array], Array], sides: NDArray) -> NDArray:
    """Return the values of a function over a grid, (points, points)."""
    grid = jnp.asarray(np.stack(np.meshgrid(*sides.T), -1), jnp.float32)
    heights = np.asarray(jax.vmap(jax.vmap(function))(grid))
    if heights.shape != grid.shape[:2] or not np.isfinite(heights).all():
        raise ValueError(
            f"function must map a point (2,) to a finite number, got shape "
            f"{heights.shape[2:]} and {np.isfinite(heights).mean():.0%} finite"
        )
    return heights


def _from_minimum(heights: NDArray) -> NDArray:
    """Return the logarithm of the height above the least one, cut off near it."""
    depth = heights - heights.min()
    above = depth[depth > 0]
    return np.log(np.maximum(depth, np.percentile(above, 1) if above.size else 1.0))


def _draw_hills(axes: "Axes", sides: NDArray, heights: NDArray) -> None:
    """Draw contours, and shades from the background (valleys) to grey (hills)."""
    levels = np.linspace(*_limits(heights), 20)
    hill = "#585858" if palette.is_dark(axes) else "#CCCCCC"
    shades = palette.from_background(axes, hill)
    axes.contourf(*sides.T, heights, levels, cmap=shades)
    look: dict[str, Any] = {"linestyles": "solid", "linewidths": 0.4, "alpha": 0.4}
    axes.contour(*sides.T, heights, levels, colors=[palette.text_color()], **look)


def _limits(values: NDArray) -> tuple[float, float]:
    """Return the least and the largest value, moved apart if they are equal."""
    low, high = values.min(), values.max()
    return low, high if high > low else low + 1e-3 * (abs(low) or 1)


def _corner(name: str, values: ArrayLike) -> NDArray:
    """Return a corner, (2,), from a point or one number for both axes."""
    both = np.full(2, values) if np.ndim(values) == 0 else values
    return arguments.numbers(name, both, 2)
