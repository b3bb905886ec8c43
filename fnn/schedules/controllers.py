"""Controllers: what to multiply the rate by, from how the loss has gone.

A schedule knows the time alone; a controller is told a value. It is a pair of pure
functions: `init()` makes a state, `update(state, value)` returns the new state and the
scale, (). The scale is for the learning rate of any optimizer, which may be an array:

    state, scale = controller.update(state, loss)
    optimizer = fnn.optimizers.Adam(scale * 1e-3)    # inside the jitted step
"""

from typing import NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.schedules.base import as_float
from fnn.types import Array
from fnn.values import Value


class PlateauState(NamedTuple):
    """Lowest value, number of updates since then, and scale, each ()."""

    best: Array
    waited: Array
    scale: Array


class ReduceOnPlateau(Value):
    """Lower the rate when a value has stopped falling: scale ← scale · factor.

    That happens after `patience` updates in a row of which none was below
    best - min_delta; then the waiting begins anew. A NaN counts as no improvement. To
    watch what should rise, an accuracy, pass its negative.

    Args:
        factor: The factor of the scale, from 0 to 1.
        patience: Number of updates without improvement after which the scale falls.
        min_delta: By how much a value must fall to be an improvement.
        min_scale: Where the scale stops.

    Raises:
        ValueError: If a number is out of range or `patience` is not a positive integer.

    Example:
        >>> plateau = fnn.schedules.ReduceOnPlateau(factor=0.5, patience=2)
        >>> state, scales = plateau.init(), []
        >>> for loss in (1.0, 0.8, 0.9, 0.8, 0.7, 0.7, 0.7):
        ...     state, scale = plateau.update(state, loss)
        ...     scales.append(float(scale))
        >>> scales
        [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    """

    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    min_scale: float = 0.0

    def __post_init__(self) -> None:
        checks.between("factor", self.factor, 0, 1)
        checks.between("min_delta", self.min_delta, 0, float("inf"))
        checks.between("min_scale", self.min_scale, 0, 1)
        self._set(patience=checks.positive_integer("patience", self.patience))

    def init(self) -> PlateauState:
        """Return the state before the first value; its scale is 1."""
        return PlateauState(as_float(jnp.inf), jnp.zeros((), jnp.int32), as_float(1))

    def update(self, state: PlateauState, value: Array) -> tuple[PlateauState, Array]:
        """Return the new state and the scale, given the value of the last epoch or step."""
        value = as_float(value)
        improved = value < state.best - self.min_delta
        waited = jnp.where(improved, 0, state.waited + 1)
        lower = waited >= self.patience
        lowered = jnp.maximum(state.scale * self.factor, self.min_scale)
        scale = jnp.where(lower, lowered, state.scale)
        best = jnp.where(improved, value, state.best)
        return PlateauState(best, jnp.where(lower, 0, waited), scale), scale


class BoldDriverState(NamedTuple):
    """The state of `BoldDriver`, each ().

    The loss of the parameters last accepted, whether the last ones were, and the scale.
    """

    reference: Array
    accepted: Array
    scale: Array


class BoldDriver(Value):
    """Raise the rate while the error falls, lower it at once when it rises.

        scale ← scale · growth, accept    where loss ≤ reference; reference ← loss
        scale ← scale · shrink, reject    where loss > reference, or is not a number

    The reference is the loss of the parameters last accepted. The method goes back to
    those after a rejection: `params = fnn.tree.where(state.accepted, params, previous)`.
    It is for whole batches, whose loss rises only when a step was too long. The first
    update only sets the reference.

    Source: Vogl et al. 1988, "Accelerating the convergence of the back-propagation
    method"; Battiti 1989, "Accelerated backpropagation learning: two optimization
    methods".

    Args:
        growth: The factor of the scale after a success, at least 1.
        shrink: The factor of the scale after a failure, from 0 to 1.

    Raises:
        ValueError: If a factor is out of range.

    Example:
        >>> driver = fnn.schedules.BoldDriver(growth=1.5, shrink=0.5)
        >>> state, scales = driver.init(), []
        >>> for loss in (4.0, 3.0, 2.0, 2.5, 1.0):
        ...     state, scale = driver.update(state, loss)
        ...     scales.append(float(scale))
        >>> scales
        [1.0, 1.5, 2.25, 1.125, 1.6875]
    """

    growth: float = 1.05
    shrink: float = 0.5

    def __post_init__(self) -> None:
        checks.between("growth", self.growth, 1, float("inf"))
        checks.between("shrink", self.shrink, 0, 1)

    def init(self) -> BoldDriverState:
        """Return the state before the first value; its scale is 1."""
        return BoldDriverState(as_float(jnp.inf), jnp.bool_(True), as_float(1))

    def update(self, state: BoldDriverState, value: Array) -> tuple[BoldDriverState, Array]:
        """Return the new state and the scale, given the loss of the new parameters."""
        value = as_float(value)
        accepted = value <= state.reference
        growth = jnp.where(jnp.isposinf(state.reference), 1.0, self.growth)
        scale = state.scale * jnp.where(accepted, as_float(growth), self.shrink)
        reference = jnp.where(accepted, value, state.reference)
        return BoldDriverState(reference, accepted, scale), scale
