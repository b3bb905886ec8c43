"""Gradient descent, plain and with momentum."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import LearningRate, Optimizer, check_learning_rate, rate_at
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
        step = jnp.zeros((), jnp.int32)
        return SGDState(step, rate_at(self.learning_rate, step))

    def update(
        self, grads: PyTree, state: SGDState, params: Params | None = None
    ) -> tuple[PyTree, SGDState]:
        rate = rate_at(self.learning_rate, state.step)
        return tree.scale(-rate, grads), SGDState(state.step + 1, rate)


class MomentumState(NamedTuple):
    """What `Momentum` carries: steps, (), the rate, (), and v, like the parameters."""

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
        step = jnp.zeros((), jnp.int32)
        rate = rate_at(self.learning_rate, step)
        return MomentumState(step, rate, tree.zeros_like(params))

    def update(
        self, grads: PyTree, state: MomentumState, params: Params | None = None
    ) -> tuple[PyTree, MomentumState]:
        mu, rate = self.momentum, rate_at(self.learning_rate, state.step)
        force = {"rate_inside": rate, "rate_outside": 1.0, "averaged": 1.0 - mu}[self.form]
        velocity = jax.tree.map(
            lambda v, g: jnp.asarray(mu, g.dtype) * v - jnp.asarray(force, g.dtype) * g,
            state.velocity,
            grads,
        )
        updates = velocity if self.form == "rate_inside" else tree.scale(rate, velocity)
        return updates, MomentumState(state.step + 1, rate, velocity)
