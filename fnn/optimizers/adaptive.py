"""Optimizers that scale each parameter's step by the gradients that it has seen."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.arithmetic import (
    advance,
    check_decay,
    moving_average,
    narrow,
    root,
    start,
    wide_zeros,
    widen,
)
from fnn.optimizers.base import LearningRate, Optimizer, check_learning_rate
from fnn.types import Array, Params, PyTree, as_number


class SquaresState(NamedTuple):
    """What `Adagrad` and `RMSProp` carry.

    Steps, (), the rate, (), and the sum or average s of squared gradients, like the
    parameters.
    """

    step: Array
    learning_rate: Array
    squares: PyTree


class Adagrad(Optimizer):
    """Divide each step by the root of all squared gradients so far.

        s ← s + g²                  starting from s = 0
        w ← w - α g / (√s + ε)

    So the first step has the length α in every element, and α may be large: 0.1 to 1.

    Source: Duchi, Hazan & Singer 2011, "Adaptive subgradient methods for online learning
    and stochastic optimization".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        eps: ε, which bounds the step where the gradients vanish.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> adagrad = fnn.optimizers.Adagrad(0.5)
        >>> state = adagrad.init({"w": jax.numpy.zeros(2)})
        >>> updates, state = adagrad.update({"w": jax.numpy.array([4.0, -8.0])}, state)
        >>> updates
        {'w': Array([-0.5,  0.5], dtype=float32)}
    """

    learning_rate: LearningRate
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        checks.between("eps", self.eps, 0, float("inf"))

    def init(self, params: Params) -> SquaresState:
        return SquaresState(*start(self.learning_rate), wide_zeros(params))

    def update(
        self, grads: PyTree, state: SquaresState, params: Params | None = None
    ) -> tuple[PyTree, SquaresState]:
        step, rate = advance(self.learning_rate, state.step)
        g = widen(grads)
        s = tree.add(state.squares, jax.tree.map(jnp.square, g))
        updates = tree.scale(-rate, ratio(g, s, self.eps))
        return narrow(updates, grads), SquaresState(step, rate, s)


class RMSProp(Optimizer):
    """Divide each step by the root of a moving average of squared gradients.

        s ← ρ s + (1 - ρ) g²        starting from s = 0, without bias correction
        w ← w - α g / (√s + ε)

    So the first step has the length α / √(1 - ρ) in every element.

    Source: Tieleman & Hinton 2012, "Lecture 6.5: divide the gradient by a running average
    of its recent magnitude".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        decay: ρ, the decay of the average.
        eps: ε, which bounds the step where the gradients vanish.

    Raises:
        ValueError: If a number is negative, or the decay is not below 1.

    Example:
        >>> rmsprop = fnn.optimizers.RMSProp(0.1, decay=0.75)
        >>> state = rmsprop.init({"w": jax.numpy.zeros(2)})
        >>> updates, state = rmsprop.update({"w": jax.numpy.array([4.0, -8.0])}, state)
        >>> updates
        {'w': Array([-0.2,  0.2], dtype=float32)}
    """

    learning_rate: LearningRate
    decay: float = 0.9
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        check_decay("decay", self.decay)
        checks.between("eps", self.eps, 0, float("inf"))

    def init(self, params: Params) -> SquaresState:
        return SquaresState(*start(self.learning_rate), wide_zeros(params))

    def update(
        self, grads: PyTree, state: SquaresState, params: Params | None = None
    ) -> tuple[PyTree, SquaresState]:
        step, rate = advance(self.learning_rate, state.step)
        g = widen(grads)
        s = moving_average(self.decay, state.squares, jax.tree.map(jnp.square, g))
        updates = tree.scale(-rate, ratio(g, s, self.eps))
        return narrow(updates, grads), SquaresState(step, rate, s)


class AdadeltaState(NamedTuple):
    """What `Adadelta` carries.

    Steps, (), the rate, (), and the averages s of squared gradients and u of squared
    steps, like the parameters.
    """

    step: Array
    learning_rate: Array
    squares: PyTree
    squared_steps: PyTree


class Adadelta(Optimizer):
    """Scale each step by the ratio of past steps to past gradients.

        s ← ρ s + (1 - ρ) g²        starting from s = 0
        Δ = √(u + ε) / √(s + ε) g
        u ← ρ u + (1 - ρ) Δ²        starting from u = 0
        w ← w - α Δ

    Δ has the unit of the parameters, so the source has no rate at all: α = 1. The first
    step has the length √ε / √(1 - ρ) in every element, and steps grow from there.

    Source: Zeiler 2012, "ADADELTA: an adaptive learning rate method".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        decay: ρ, the decay of both averages.
        eps: ε, which sets how long the first steps are.

    Raises:
        ValueError: If a number is negative, or the decay is not below 1.

    Example:
        >>> adadelta = fnn.optimizers.Adadelta(1.0, decay=0.75, eps=0.01)
        >>> state = adadelta.init({"w": jax.numpy.zeros(2)})
        >>> grads = {"w": jax.numpy.array([40.0, -80.0])}
        >>> updates, state = adadelta.update(grads, state)
        >>> updates["w"].round(3)
        Array([-0.2,  0.2], dtype=float32)
    """

    learning_rate: LearningRate
    decay: float = 0.95
    eps: float = 1e-6

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        check_decay("decay", self.decay)
        checks.between("eps", self.eps, 0, float("inf"))

    def init(self, params: Params) -> AdadeltaState:
        rest = wide_zeros(params), wide_zeros(params)
        return AdadeltaState(*start(self.learning_rate), *rest)

    def update(
        self, grads: PyTree, state: AdadeltaState, params: Params | None = None
    ) -> tuple[PyTree, AdadeltaState]:
        step, rate = advance(self.learning_rate, state.step)
        g = widen(grads)
        s = moving_average(self.decay, state.squares, jax.tree.map(jnp.square, g))
        steps = jax.tree.map(self._step, g, s, state.squared_steps)
        squared = jax.tree.map(jnp.square, steps)
        u = moving_average(self.decay, state.squared_steps, squared)
        updates = tree.scale(-rate, steps)
        return narrow(updates, grads), AdadeltaState(step, rate, s, u)

    def _step(self, g: Array, s: Array, u: Array) -> Array:
        eps = jnp.asarray(self.eps, s.dtype)
        return root(u + eps) / root(s + eps) * g


def ratio(numerator: PyTree, squares: PyTree, eps: float) -> PyTree:
    """Return numerator / (√squares + ε)."""
    return jax.tree.map(
        lambda x, s: _ratio(x, s, as_number(eps, s.dtype)), numerator, squares
    )


@functools.partial(jax.jit, inline=True)
def _ratio(numerator: Array, squares: Array, eps: Array) -> Array:
    return numerator / (root(squares) + eps)
