"""Optimizers that go by the signs of gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.arithmetic import check_decay, wide_zeros
from fnn.optimizers.leafwise import Leafwise, Now
from fnn.optimizers.selection import as_pattern
from fnn.optimizers.weight_decay import decaying
from fnn.schedules.base import as_float, check_rate
from fnn.tree import Pattern
from fnn.types import Array, Params, PyTree, wide


class LionState(NamedTuple):
    """Number of steps taken, (), the rate last used, (), and the average m of gradients."""

    step: Array
    learning_rate: Array
    first_moment: PyTree


class Lion(Leafwise):
    """Go by the sign of an average of the gradients, the same way in every element.

        w ← w - α (sign(β₁ m + (1 - β₁) g) + λ w)
        m ← β₂ m + (1 - β₂) g                       starting from m = 0

    Choose a rate 3 to 10 times smaller than for `AdamW`, and a λ larger by the same
    factor.

    Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the weight of the average against the gradient in the step.
        b2: β₂, the decay of the average.
        weight_decay: λ.
        on: The leaves that decay: a glob on the path, or several. By default kernels
            alone, and neither biases nor scales.

    Raises:
        ValueError: If a number is out of range; from `update`, where weights decay, if it
            gets no parameters or a glob matches no leaf.
        TypeError: If `on` is not a pattern.

    Example:
        >>> lion = fnn.optimizers.Lion(0.1)
        >>> state = lion.init({"w": jax.numpy.zeros(2)})
        >>> lion.update({"w": jax.numpy.array([7.0, -0.01])}, state)[0]
        {'w': Array([-0.1,  0.1], dtype=float32)}
    """

    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    on: Pattern = "*kernel"

    State = LionState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("b1", self.b1, 0, 1)
        check_decay("b2", self.b2)
        checks.between("weight_decay", self.weight_decay, 0, float("inf"))
        self._set(on=as_pattern("on", self.on))

    def decays(self, params: Params | None) -> PyTree | None:
        return decaying(params, self.weight_decay, self.on, "Lion")

    def rule(self, g: Array, m: Array, now: Now) -> tuple[Array, Array]:
        u = jnp.sign(self.b1 * m + (1 - self.b1) * g)
        if now.decays:
            u = u + self.weight_decay * now.w
        return now.minus_rate * u, self.b2 * m + (1 - self.b2) * g


class RpropState(NamedTuple):
    """The state of `Rprop`.

    The mean of the step sizes, (), the step sizes and the signs of the last gradients,
    like the parameters.
    """

    learning_rate: Array
    step_sizes: PyTree
    signs: PyTree


class Rprop(Leafwise):
    """Give every parameter a step size of its own, which only signs of gradients change.

        Δ ← min(η₊ Δ, max_step)     where g has the sign that it had before
        Δ ← max(η₋ Δ, min_step)     where its sign has changed; g ← 0 there, for this step
                                    and as what the next one is compared to
        w ← w - Δ sign(g)

    For whole batches: the noise of small ones changes signs. This is the variant iRprop⁻,
    which takes no step back where a sign has changed.

    Source: Riedmiller & Braun 1993, "A direct adaptive method for faster backpropagation
    learning: the RPROP algorithm"; Igel & Hüsken 2000, "Improving the Rprop learning
    algorithm".

    Args:
        learning_rate: The first step size: a number or an array of shape (). The state's
            `learning_rate` is the mean of all step sizes.
        shrink: η₋, from 0 to 1.
        growth: η₊, at least 1.
        min_step: The smallest step size.
        max_step: The largest step size.

    Raises:
        ValueError: If a number is out of range, or the rate is a schedule.

    Example:
        >>> rprop = fnn.optimizers.Rprop(0.1)
        >>> state = rprop.init({"w": jax.numpy.zeros(2)})
        >>> for gradient in ([3.0, 3.0], [2.0, -1.0]):
        ...     updates, state = rprop.update({"w": jax.numpy.array(gradient)}, state)
        >>> updates["w"], state.step_sizes["w"]
        (Array([-0.12, -0.  ], dtype=float32), Array([0.12, 0.05], dtype=float32))
    """

    learning_rate: float
    shrink: float = 0.5
    growth: float = 1.2
    min_step: float = 1e-6
    max_step: float = 50.0

    def __post_init__(self) -> None:
        check_rate(
            "learning_rate, with which Rprop's step sizes start,", self.learning_rate
        )
        checks.between("shrink", self.shrink, 0, 1)
        checks.between("growth", self.growth, 1, float("inf"))
        checks.between("min_step", self.min_step, 0, float("inf"))
        checks.between("max_step", self.max_step, self.min_step, float("inf"))

    def init(self, params: Params) -> RpropState:
        sizes = _constant_like(params, self.learning_rate)
        return RpropState(as_float(self.learning_rate), sizes, wide_zeros(params))

    def update(
        self, grads: PyTree, state: RpropState, params: Params | None = None
    ) -> tuple[PyTree, RpropState]:
        updates, (sizes, signs) = self.by_leaf(grads, state[1:])
        mean = _mean(sizes, self.learning_rate)
        return updates, RpropState(mean, sizes, signs)

    def rule(
        self, g: Array, size: Array, before: Array, now: Now
    ) -> tuple[Array, Array, Array]:
        sign = jnp.sign(g)
        agreement = sign * before
        larger = jnp.minimum(size * self.growth, self.max_step)
        smaller = jnp.maximum(size * self.shrink, self.min_step)
        size = jnp.where(agreement > 0, larger, jnp.where(agreement < 0, smaller, size))
        sign = jnp.where(agreement < 0, jnp.zeros_like(sign), sign)
        return -size * sign, size, sign


class DeltaBarDeltaState(NamedTuple):
    """The state of `DeltaBarDelta`.

    The mean of the rates, (), the rates and the average of the gradients, like the
    parameters.
    """

    learning_rate: Array
    rates: PyTree
    average: PyTree


class DeltaBarDelta(Leafwise):
    """Gradient descent with a rate for every parameter, which grows while its sign stays.

        α ← α + increase            where ḡ g > 0, ḡ being the average before this step
        α ← α (1 - decrease)        where ḡ g < 0
        w ← w - α g
        ḡ ← θ ḡ + (1 - θ) g         starting from ḡ = 0

    For whole batches: the noise of small ones changes signs.

    Source: Jacobs 1988, "Increased rates of convergence through learning rate
    adaptation".

    Args:
        learning_rate: The first rate: a number or an array of shape (). The state's
            `learning_rate` is the mean of all rates.
        increase: κ, the amount added to a rate; small compared to the rates.
        decrease: φ, the share of a rate that is taken away, from 0 to 1.
        decay: θ, the decay of the average of the gradients.

    Raises:
        ValueError: If a number is out of range, or the rate is a schedule.

    Example:
        >>> optimizer = fnn.optimizers.DeltaBarDelta(0.1, increase=0.01, decrease=0.5)
        >>> state = optimizer.init({"w": jax.numpy.zeros(2)})
        >>> for gradient in ([3.0, 3.0], [2.0, -1.0]):
        ...     updates, state = optimizer.update({"w": jax.numpy.array(gradient)}, state)
        >>> updates["w"], state.rates["w"]
        (Array([-0.22,  0.05], dtype=float32), Array([0.11, 0.05], dtype=float32))
    """

    learning_rate: float
    increase: float = 0.01
    decrease: float = 0.1
    decay: float = 0.7

    def __post_init__(self) -> None:
        what = "learning_rate, with which DeltaBarDelta's rates start,"
        check_rate(what, self.learning_rate)
        checks.between("increase", self.increase, 0, float("inf"))
        checks.between("decrease", self.decrease, 0, 1)
        check_decay("decay", self.decay)

    def init(self, params: Params) -> DeltaBarDeltaState:
        rates = _constant_like(params, self.learning_rate)
        return DeltaBarDeltaState(as_float(self.learning_rate), rates, wide_zeros(params))

    def update(
        self, grads: PyTree, state: DeltaBarDeltaState, params: Params | None = None
    ) -> tuple[PyTree, DeltaBarDeltaState]:
        updates, (rates, average) = self.by_leaf(grads, state[1:])
        mean = _mean(rates, self.learning_rate)
        return updates, DeltaBarDeltaState(mean, rates, average)

    def rule(
        self, g: Array, rate: Array, average: Array, now: Now
    ) -> tuple[Array, Array, Array]:
        agreement = jnp.sign(average) * jnp.sign(g)
        smaller = jnp.where(agreement < 0, rate * (1 - self.decrease), rate)
        rate = jnp.where(agreement > 0, rate + self.increase, smaller)
        return -rate * g, rate, self.decay * average + (1 - self.decay) * g


def _constant_like(params: PyTree, value: Any) -> PyTree:
    return jax.tree.map(
        lambda p: jnp.full(p.shape, jnp.asarray(value, wide(p.dtype))), params
    )


def _mean(sizes: PyTree, otherwise: Any) -> Array:
    """Return the mean over all elements of all leaves, ()."""
    count = tree.size(sizes)
    total = sum(as_float(jnp.sum(leaf)) for leaf in jax.tree.leaves(sizes))
    return as_float(total / count if count else otherwise)
