"""What goes on over epochs, steps and rates, and what a function looks like."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.plots import arguments, style
from fnn.types import Array, NDArray, Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BROKEN = (0, (2, 1.5))  # two widths of the line drawn, one and a half left out


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
        >>> history = {"loss": [2.0, 1.0], "val_loss": [2.1, 1.5]}
        >>> fnn.plots.learning_curve(history).get_ylabel()
        'loss'
    """
    curves = _curves(history, name)
    axes = style.current(axes)
    for i, (label, values) in enumerate(curves.items()):
        look = style.line_style(axes, i)
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
    """Draw a metric of several trainings over the epochs, validation as broken lines.

    Args:
        histories: By name, what `fnn.fit` returned.
        name: Which metric.
        log: Whether its axis is logarithmic.
        axes: Where to draw.

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
        look = style.line_style(axes, i)
        training = both.pop("training")
        axes.plot(_epochs(training), training, **look, **_dots(training), label=label)
        for validation in both.values():
            axes.plot(
                _epochs(validation), validation, color=look["color"], linestyle=BROKEN
            )
    if any(curves.values()):
        axes.plot([], [], color=style.text_color(), linestyle=BROKEN, label="validation")
    if log:
        axes.set_yscale("log")
    _label_epochs(axes, name)
    style.name_lines(axes)
    return axes


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
        function: From a number, (), to a number, by JAX.
        low: Where to begin.
        high: Where to end, above `low`.
        derivative: Whether to draw it too.
        axes: Where to draw.

    Raises:
        ValueError: If the function returns something else than a number, or if `high` is
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
    curves = {"φ(x)": jax.vmap(function)(x)}
    if derivative:
        curves["φ′(x)"] = jax.vmap(jax.grad(function))(x)
    axes = style.current(axes)
    for i, (label, y) in enumerate(curves.items()):
        axes.plot(np.asarray(x), np.asarray(y), **style.line_style(axes, i), label=label)
    for line in (axes.axhline, axes.axvline):
        line(0, **style.pencil(), zorder=0)
    style.open_frame(axes)
    name = getattr(function, "__name__", "")
    if name.isidentifier():  # a lambda and a partial have none to show
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
        schedules: By name.
        steps: How many.
        axes: Where to draw.

    Raises:
        ValueError: If there is no schedule, or no step.

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
        axes.plot(x, np.asarray(y), **style.line_style(axes, i), label=label)
    style.open_frame(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(0, 1.05 * axes.dataLim.y1)
    style.name_lines(axes)
    return axes


def learning_rate_range(
    rates: ArrayLike,
    losses: ArrayLike,
    *,
    suggested: float | None = None,
    axes: "Axes | None" = None,
) -> "Axes":
    """Draw the loss over a learning rate that grows, to choose one before it diverges.

    Source: Smith 2017, "Cyclical learning rates for training neural networks".

    Args:
        rates: Above 0, (steps,).
        losses: At each rate, (steps,).
        suggested: A rate to mark.
        axes: Where to draw.

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
    axes.plot(rates, losses, color=style.color(axes, 0))
    axes.set_xscale("log")
    style.open_frame(axes)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.set_ylim(*_before_divergence(losses))
    if suggested is not None:
        label = f"suggested: {suggested:.2g}"
        axes.axvline(suggested, color=style.color(axes, 1), linestyle="--", label=label)
        style.name_lines(axes)
    return axes


def _before_divergence(losses: NDArray) -> tuple[float, float]:
    """Return limits that show the descent, and of a divergence the beginning."""
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
    """Return the marker of a line: one epoch alone is a point, or it would not be seen."""
    return {"marker": "o" if len(values) == 1 else ""}


def _label_epochs(axes: "Axes", name: str) -> None:
    """Label the axes of a metric over epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_ylabel(name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.open_frame(axes)
