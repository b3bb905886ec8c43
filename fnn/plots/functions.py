"""Activations and schedules, drawn as functions."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.plots import arguments, palette, style
from fnn.types import Array, Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def activation(
    function: Callable[[Array], Array],
    *,
    low: float = -4,
    high: float = 4,
    derivative: bool = True,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw a function of one number and its derivative.

    Args:
        function: A JAX function from a number, (), to a number.
        low: The lower end of the axis.
        high: The upper end of the axis, above `low`.
        derivative: Whether to draw the derivative too.
        axes: The axes to draw into.

    Raises:
        ValueError: If the function does not return a number, or if `high` is
            not above `low`.

    Example:
        >>> axes = fnn.plots.activation(jax.nn.sigmoid)
        >>> float(axes.lines[1].get_ydata().max())  # the derivative: at most 1/4
        0.25
    """
    if not low < high:
        raise ValueError(f"high must be above low, got low={low} and high={high}")
    output = jax.eval_shape(function, jax.ShapeDtypeStruct((), jnp.float32))
    if getattr(output, "shape", None) != ():
        raise ValueError(
            f"function must map a number to a number, got {checks.describe(output)} "
            f"from float32[]"
        )
    x = jnp.linspace(low, high, 401)
    if derivative:
        y, slopes = jax.jit(jax.vmap(jax.value_and_grad(function)))(x)
        curves = {"φ(x)": y, "φ′(x)": slopes}
    else:
        curves = {"φ(x)": jax.vmap(function)(x)}
    axes = style.current(axes)
    for i, (label, y) in enumerate(curves.items()):
        axes.plot(np.asarray(x), np.asarray(y), **palette.line_style(axes, i), label=label)
    for line in (axes.axhline, axes.axvline):
        line(0, **palette.pencil(), zorder=0)
    style.open_frame(axes)
    name = getattr(function, "__name__", "")
    if name.isidentifier():  # a lambda and a partial have no name to show
        axes.set_title(name)
    axes.set_xlabel("x")
    axes.set_xlim(low, high)
    style.name_lines(axes)
    return axes


def schedules(
    schedules: Mapping[str, Schedule], steps: int, *, axes: "Axes | None" = None
) -> "Axes":
    """Draw learning-rate schedules over the steps of a training.

    Args:
        schedules: Schedules by name.
        steps: Number of steps.
        axes: The axes to draw into.

    Raises:
        ValueError: If `schedules` is empty, or `steps` is not positive.

    Example:
        >>> cosine = fnn.schedules.CosineDecay(0.1, 100)
        >>> axes = fnn.plots.schedules({"cosine": cosine}, 101)
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('step', 'learning rate')
    """
    arguments.named("schedules", schedules)
    checks.positive_integer("steps", steps)
    x = np.unique(np.linspace(0, steps - 1, min(steps, 2000)).astype(np.int32))
    curves = {name: jax.vmap(f)(jnp.asarray(x)) for name, f in schedules.items()}
    axes = style.current(axes)
    for i, (label, y) in enumerate(curves.items()):
        axes.plot(x, np.asarray(y), **palette.line_style(axes, i), label=label)
    style.open_frame(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(0, 1.05 * axes.dataLim.y1)
    style.name_lines(axes)
    return axes
