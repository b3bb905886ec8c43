"""Optimizers that scale each parameter's step by the gradients that it has seen."""

from typing import NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optimizers.arithmetic import check_decay
from fnn.optimizers.leafwise import Leafwise, Now, root
from fnn.types import Array, PyTree


class SquaresState(NamedTuple):
    """The state of `Adagrad` and `RMSProp`.

    Number of steps taken, (), the rate last used, (), and the sum or the average s of
    squared gradients, like the parameters.
    """

    step: Array
    learning_rate: Array
    squares: PyTree


class Adagrad(Leafwise):
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

    eps: float = 1e-8

    State = SquaresState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("eps", self.eps, 0, float("inf"))

    def rule(self, g: Array, s: Array, now: Now) -> tuple[Array, Array]:
        s = s + jnp.square(g)
        return now.minus_rate * (g / (root(s) + self.eps)), s


class RMSProp(Leafwise):
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

    decay: float = 0.9
    eps: float = 1e-8

    State = SquaresState

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("decay", self.decay)
        checks.between("eps", self.eps, 0, float("inf"))

    def rule(self, g: Array, s: Array, now: Now) -> tuple[Array, Array]:
        s = self.decay * s + (1 - self.decay) * jnp.square(g)
        return now.minus_rate * (g / (root(s) + self.eps)), s


class AdadeltaState(NamedTuple):
    """The state of `Adadelta`.

    Number of steps taken, (), the rate last used, (), and the averages s of squared
    gradients and u of squared steps, like the parameters.
    """

    step: Array
    learning_rate: Array
    squares: PyTree
    squared_steps: PyTree


class Adadelta(Leafwise):
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

    decay: float = 0.95
    eps: float = 1e-6

    State = AdadeltaState

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("decay", self.decay)
        checks.between("eps", self.eps, 0, float("inf"))

    def rule(self, g: Array, s: Array, u: Array, now: Now) -> tuple[Array, Array, Array]:
        s = self.decay * s + (1 - self.decay) * jnp.square(g)
        step = root(u + self.eps) / root(s + self.eps) * g
        u = self.decay * u + (1 - self.decay) * jnp.square(step)
        return now.minus_rate * step, s, u
