"""Gradient descent, plain and with momentum."""

from typing import Literal, NamedTuple

import jax

from fnn import checks, tree
from fnn.optimizers.arithmetic import advance, narrow, start, wide_zeros, widen
from fnn.optimizers.base import LearningRate, Optimizer, check_learning_rate
from fnn.types import Array, Params, PyTree


class SGDState(NamedTuple):
    """What `SGD` carries: steps taken, (), and the rate last used, ()."""

    step: Array
    learning_rate: Array


class SGD(Optimizer):
    """Gradient descent: w ← w - α g.

    Stochastic, mini-batch or batch, as the gradients are.

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.

    Raises:
        ValueError: If the rate is negative or not one number.

    Example:
        >>> sgd = fnn.optimizers.SGD(0.1)
        >>> params = {"w": jax.numpy.array([1.0])}
        >>> updates, state = sgd.update({"w": jax.numpy.array([2.0])}, sgd.init(params))
        >>> fnn.optimizers.apply_updates(params, updates)
        {'w': Array([0.8], dtype=float32)}
    """

    learning_rate: LearningRate

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)

    def init(self, params: Params) -> SGDState:
        return SGDState(*start(self.learning_rate))

    def update(
        self, grads: PyTree, state: SGDState, params: Params | None = None
    ) -> tuple[PyTree, SGDState]:
        step, rate = advance(self.learning_rate, state.step)
        return tree.scale(-rate, grads), SGDState(step, rate)


class MomentumState(NamedTuple):
    """What `Momentum` and `Nesterov` carry.

    Steps, (), the rate, (), and the velocity v, like the parameters.
    """

    step: Array
    learning_rate: Array
    velocity: PyTree


class Momentum(Optimizer):
    """Gradient descent with momentum, in one of the three forms in use.

    With rate α and momentum μ, starting from v = 0:

        "rate_inside"    v ← μ v - α g          w ← w + v      Sutskever, Keras
        "rate_outside"   v ← μ v - g            w ← w + α v    PyTorch, Optax
        "averaged"       v ← μ v - (1 - μ) g    w ← w + α v    average of the gradients

    At a constant rate the first two are the same, and the third is the same with a rate
    1 / (1 - μ) times as large. When the rate changes, the velocity of the first keeps
    its length, that of the others changes with the rate.

    The first is a ball that rolls down a hill with friction, x'' = -f x' - ∇E(x), in steps
    of time h, with μ = 1 - h f and α = h².

    Source: Polyak 1964, "Some methods of speeding up the convergence of iteration
    methods"; Sutskever et al. 2013, "On the importance of initialization and momentum".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        momentum: μ, from 0 to 1.
        form: Which of the forms.

    Raises:
        ValueError: If the rate is negative, the momentum out of range or the form none
            of these.

    Example:
        >>> momentum = fnn.optimizers.Momentum(0.1, momentum=0.9)
        >>> state = momentum.init({"w": jax.numpy.zeros(1)})
        >>> for _ in range(2):
        ...     updates, state = momentum.update({"w": jax.numpy.ones(1)}, state)
        >>> updates
        {'w': Array([-0.19], dtype=float32)}
    """

    learning_rate: LearningRate
    momentum: float = 0.9
    form: Literal["rate_inside", "rate_outside", "averaged"] = "rate_inside"

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        checks.between("momentum", self.momentum, 0, 1)
        checks.one_of("form", self.form, ("rate_inside", "rate_outside", "averaged"))

    def init(self, params: Params) -> MomentumState:
        return MomentumState(*start(self.learning_rate), wide_zeros(params))

    def update(
        self, grads: PyTree, state: MomentumState, params: Params | None = None
    ) -> tuple[PyTree, MomentumState]:
        mu, (step, rate) = self.momentum, advance(self.learning_rate, state.step)
        forces: dict[str, float | Array] = {
            "rate_inside": rate,
            "rate_outside": 1,
            "averaged": 1 - mu,
        }
        v = _pushed(mu, state.velocity, forces[self.form], widen(grads))
        updates = v if self.form == "rate_inside" else tree.scale(rate, v)
        return narrow(updates, grads), MomentumState(step, rate, v)


class Nesterov(Optimizer):
    """Gradient descent with Nesterov's momentum, which looks ahead.

        v ← μ v - α g(w + μ v)                w ← w + v           as published
        v ← μ v - α g(w)                      w ← w + μ v - α g   as computed

    The second is the first in terms of the point w + μ v, at which gradients are taken:
    that point is what the parameters are here. At a constant rate it is also PyTorch's
    and Optax's form, which keep the rate outside of the velocity.

    Source: Nesterov 1983, "A method for solving a convex programming problem with
    convergence rate O(1/k²)"; Sutskever et al. 2013, "On the importance of
    initialization and momentum".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        momentum: μ, from 0 to 1.

    Raises:
        ValueError: If the rate is negative or the momentum out of range.

    Example:
        >>> nesterov = fnn.optimizers.Nesterov(0.1, momentum=0.9)
        >>> state = nesterov.init({"w": jax.numpy.zeros(1)})
        >>> nesterov.update({"w": jax.numpy.ones(1)}, state)[0]
        {'w': Array([-0.19], dtype=float32)}
    """

    learning_rate: LearningRate
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        checks.between("momentum", self.momentum, 0, 1)

    def init(self, params: Params) -> MomentumState:
        return MomentumState(*start(self.learning_rate), wide_zeros(params))

    def update(
        self, grads: PyTree, state: MomentumState, params: Params | None = None
    ) -> tuple[PyTree, MomentumState]:
        mu, (step, rate) = self.momentum, advance(self.learning_rate, state.step)
        g = widen(grads)
        v = _pushed(mu, state.velocity, rate, g)
        updates = _pushed(mu, v, rate, g)
        return narrow(updates, grads), MomentumState(step, rate, v)


def _pushed(mu: float, velocity: PyTree, force: float | Array, g: PyTree) -> PyTree:
    """Return μ · velocity - force · g."""
    return jax.tree.map(lambda v, x: tree.scale(mu, v) - tree.scale(force, x), velocity, g)
