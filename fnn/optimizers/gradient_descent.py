"""Gradient descent, plain and with momentum."""

from typing import Literal, NamedTuple

from fnn import checks
from fnn.optimizers.leafwise import Leafwise, Now
from fnn.types import Array, PyTree


class SGDState(NamedTuple):
    """Number of steps taken, (), and the rate last used, ()."""

    step: Array
    learning_rate: Array


class SGD(Leafwise):
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

    State = SGDState

    def rule(self, g: Array, now: Now) -> Array:
        return now.minus_rate * g


class MomentumState(NamedTuple):
    """The state of `Momentum` and `Nesterov`.

    Number of steps taken, (), the rate last used, (), and the velocity v, like the
    parameters.
    """

    step: Array
    learning_rate: Array
    velocity: PyTree


class Momentum(Leafwise):
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
        ValueError: If the rate is negative, the momentum out of range, or the form not one
            of these.

    Example:
        >>> momentum = fnn.optimizers.Momentum(0.1, momentum=0.9)
        >>> state = momentum.init({"w": jax.numpy.zeros(1)})
        >>> for _ in range(2):
        ...     updates, state = momentum.update({"w": jax.numpy.ones(1)}, state)
        >>> updates
        {'w': Array([-0.19], dtype=float32)}
    """

    momentum: float = 0.9
    form: Literal["rate_inside", "rate_outside", "averaged"] = "rate_inside"

    State = MomentumState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("momentum", self.momentum, 0, 1)
        checks.one_of("form", self.form, ("rate_inside", "rate_outside", "averaged"))

    def rule(self, g: Array, v: Array, now: Now) -> tuple[Array, Array]:
        if self.form == "rate_inside":
            v = self.momentum * v - now.rate * g
            return v, v
        if self.form == "rate_outside":
            v = self.momentum * v - g
        else:
            v = self.momentum * v - (1 - self.momentum) * g
        return now.rate * v, v


class Nesterov(Leafwise):
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

    momentum: float = 0.9

    State = MomentumState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("momentum", self.momentum, 0, 1)

    def rule(self, g: Array, v: Array, now: Now) -> tuple[Array, Array]:
        force = now.rate * g
        v = self.momentum * v - force
        return self.momentum * v - force, v
