"""The faults of a network's signals, in words, and remedies.

Every threshold is a round number with a reason. Healthy networks of many kinds, depths and
seeds stayed below them by a wide margin.
"""

from typing import NamedTuple

import numpy as np

from fnn.diagnostics.signals import Signals
from fnn.types import NDArray

# With a gradient a hundred times smaller than the last layer's, a layer learns a hundred
# times more slowly. In networks initialized for their activation functions, gradients and
# activations stay within a factor of about 20, also after training.
RATIO = 100.0
# Most of the units.
MOST = 0.5
# A healthy step changes weights by about a thousandth of their size. A step by a third of
# their size amounts to a new start; a hundredth of a healthy step hardly changes anything.
HUGE_UPDATE, LARGE_UPDATE, SMALL_UPDATE = 0.3, 1e-2, 1e-5
# On a parabola, a step of α times the best length changes the loss by α / 2 - 1 times the
# first-order prediction. Adam's first step is often ten times too long, without harm.
OVERSHOOT = 20.0

REMEDIES = {
    "not finite": (
        "a smaller learning rate",
        "gradient clipping (fnn.optimizers.ClipByGlobalNorm)",
        "losses that take logits, such as fnn.losses.softmax_cross_entropy",
    ),
    "dead": (
        "a smaller learning rate",
        "biases that start at zero, and He initialization (fnn.initializers.he_normal)",
        "an activation function with a slope everywhere (leaky ReLU, ELU, GELU)",
        "batch normalization before the activation",
    ),
    "saturated": (
        "smaller initial weights (fnn.initializers.glorot_normal)",
        "batch normalization before the activation",
        "inputs scaled to mean 0 and deviation 1 (fnn.data.Standardize)",
        "an activation function of the ReLU family",
    ),
    "exploding": (
        "smaller initial weights (He for ReLU, Glorot for tanh and sigmoid)",
        "batch normalization",
        "gradient clipping: by value, by norm or by global norm",
        "inputs scaled to mean 0 and deviation 1",
    ),
    "zero weights": (
        "random initial weights (He, Glorot): with zeros all units of a layer stay alike",
        "nothing, where a head or a residual branch starts from zero on purpose",
    ),
    "vanishing": (
        "an activation function of the ReLU family",
        "initial weights fit for it (He for ReLU, Glorot for tanh and sigmoid)",
        "batch normalization",
        "residual connections (fnn.Residual)",
    ),
    "flat": (
        "a loss that is steep where the output is wrong, such as cross-entropy of logits",
        "nothing, if training has reached its minimum",
    ),
    "frozen": (
        "an optimizer for these parameters, where they are not frozen on purpose: see "
        "fnn.optimizers.ByPath, Frozen and jax.lax.stop_gradient",
    ),
    "learning rate too high": (
        "a rate 10 to 100 times smaller; fnn.diagnostics.learning_rate_range finds one",
        "a warm-up (fnn.schedules.Warmup)",
        "gradient clipping (fnn.optimizers.ClipByGlobalNorm)",
    ),
    "learning rate too low": (
        "a larger rate; fnn.diagnostics.learning_rate_range finds one",
        "nothing, if training has reached its minimum",
    ),
}
"""Remedies for each fault, the most severe fault first."""


class Fault(NamedTuple):
    """A fault: its name, the layers that have it, how it shows, and what to try."""

    name: str
    layers: tuple[str, ...]
    evidence: str
    remedies: tuple[str, ...]


def judge(names: tuple[str, ...], s: Signals) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """Return the verdict on each layer, and the faults, the most severe first."""
    masks = _masks(s)
    verdicts = [
        next((name for name in REMEDIES if masks[name][i]), "healthy")
        for i in range(len(names))
    ]
    faults = []
    for name, remedies in REMEDIES.items():
        layers = np.flatnonzero(masks[name])
        if layers.size:
            evidence = _evidence(name, names, s, layers)
            faulty = tuple(names[i] for i in layers)
            faults.append(Fault(name, faulty, evidence, remedies))
    return tuple(verdicts), tuple(faults)


def update_ratio(s: Signals) -> NDArray:
    """Return the norm of each layer's update over that of its parameters."""
    return np.divide(
        s.update, s.weight, out=np.full_like(s.update, np.nan), where=s.weight > 0
    )


def _masks(s: Signals) -> dict[str, NDArray]:
    """Return which layers have which fault; the step's are judged by its updates."""
    last = _last(s)
    inner = np.arange(len(s.gradient)) < last
    relative = _relative(s)
    ratio, rise = update_ratio(s), s.loss_after - s.loss
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(s.size + s.gradient + s.weight_gradient)
        moved = s.held & (s.update > 0)
        idle = (s.weight_gradient == 0) & ~(s.held & (s.weight == 0))
        unmoved = (s.weight_gradient == 0) | (s.update == 0)
        huge = np.linalg.norm(s.update) > HUGE_UPDATE * np.linalg.norm(s.weight)
        far = ~(rise <= (OVERSHOOT / 2 - 1) * abs(s.predicted)) & np.isfinite(s.loss)
        return {
            "not finite": ~finite,
            "dead": s.fed & (s.dead >= _dead_share(s.units)) & idle,
            "saturated": inner & (s.saturated > MOST),
            "exploding": (inner & (relative > RATIO))
            | (s.size > RATIO * np.maximum(s.input_size, 1.0)),
            "zero weights": s.held & (s.weight == 0) & (np.cumsum(s.held) > 1),
            "vanishing": inner & (relative < 1 / RATIO),
            "flat": (np.arange(len(s.gradient)) == last) & (s.gradient == 0),
            "frozen": s.held & s.fed & (s.gradient > 0) & unmoved,
            "learning rate too high": moved & (ratio > LARGE_UPDATE) & (huge | far),
            "learning rate too low": moved & (np.nanmax(ratio, initial=0) < SMALL_UPDATE),
        }


def _last(s: Signals) -> int:
    """Return the last layer with parameters; gradients are compared with the one there."""
    held = np.flatnonzero(s.held)
    return int(held[-1]) if held.size else len(s.held) - 1


def _relative(s: Signals) -> NDArray:
    reference = s.gradient[_last(s)]
    return s.gradient / reference if reference > 0 else np.ones_like(s.gradient)


def _dead_share(units: NDArray) -> NDArray:
    """Return the share above which units are dead by more than chance.

    Deep in a ReLU network all examples look alike, so about half of the units are off for
    all of them, give or take √(1/4n). Four such deviations more are not chance.
    """
    return np.minimum(0.5 + 4 * np.sqrt(0.25 / units), 1.0)


def _evidence(name: str, names: tuple[str, ...], s: Signals, layers: NDArray) -> str:
    """Return the numbers of a fault at the worst layer."""
    layers = layers[s.held[layers]] if s.held[layers].any() else layers
    first, reference = names[layers[0]], names[_last(s)]
    match name:
        case "not finite":
            return f"NaN or infinity comes first from {first}, or from its gradient"
        case "dead":
            share = s.dead[layers[0]]
            return f"{share:.0%} of the units of {first} give the same for every example"
        case "saturated":
            worst = layers[np.argmax(s.saturated[layers])]
            share = s.saturated[worst]
            return f"{share:.0%} of the units of {names[worst]} are at their limits"
        case "exploding" | "vanishing":
            return _size_evidence(name, names, s, layers)
        case "zero weights":
            return f"all parameters of {first} are zero, so no gradient passes through it"
        case "flat":
            return f"no gradient comes from the loss to {reference}"
        case "frozen":
            unmoved = s.weight_gradient[layers[0]] > 0
            why = "is not moved" if unmoved else "gets no gradient"
            return f"{first} {why}, though a gradient reaches its output"
    return _step_evidence(name, s)


def _size_evidence(name: str, names: tuple[str, ...], s: Signals, layers: NDArray) -> str:
    relative, reference = _relative(s)[layers], names[_last(s)]
    if name == "vanishing":
        worst, share = names[layers[np.argmin(relative)]], relative.min()
        return f"the gradient at {worst} is {share:.1e} of that at {reference}"
    if relative.max() > RATIO:
        worst, times = names[layers[np.argmax(relative)]], relative.max()
        return f"the gradient at {worst} is {times:.1e} times that at {reference}"
    size = s.size[layers]
    return f"the outputs of {names[layers[np.argmax(size)]]} have size {size.max():.1e}"


def _step_evidence(name: str, s: Signals) -> str:
    largest = f"{np.nanmax(update_ratio(s)):.1e} of their size"
    if name == "learning rate too low":
        return f"a step changes weights by at most {largest}"
    change = f"takes the loss of this batch from {s.loss:.3g} to {s.loss_after:.3g}"
    return f"a step changes weights by up to {largest}, and {change}"
