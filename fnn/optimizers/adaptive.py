"""Optimizers that scale each parameter's step by the gradients it has seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import LearningRate, Optimizer, check_learning_rate, rate_at
from fnn.types import Array, Params, PyTree


class AdamState(NamedTuple):
    """What `Adam` carries: steps, (), the rate, (), and the moments m and v."""

    step: Array
    learning_rate: Array
    first_moment: PyTree
    second_moment: PyTree


class Adam(Optimizer):
    """Adaptive moment estimation, with bias correction.

    With t counting from 1, m and v starting from 0:

        m ← β₁ m + (1 - β₁) g           m̂ = m / (1 - β₁ᵗ)
        v ← β₂ v + (1 - β₂) g²          v̂ = v / (1 - β₂ᵗ)
        w ← w - α m̂ / (√v̂ + ε)

    Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the average of their squares.
        eps: ε, which bounds the step where the gradients vanish.

    Raises:
        ValueError: If the rate is negative or a decay is out of [0, 1].

    Example:
        >>> adam = fnn.optimizers.Adam(0.1)
        >>> state = adam.init({"w": jax.numpy.zeros(2)})
        >>> updates, state = adam.update({"w": jax.numpy.array([7.0, -0.01])}, state)
        >>> updates["w"].round(4)
        Array([-0.1,  0.1], dtype=float32)
    """

    learning_rate: LearningRate
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        checks.between("b1", self.b1, 0, 1)
        checks.between("b2", self.b2, 0, 1)
        checks.between("eps", self.eps, 0, float("inf"))

    def init(self, params: Params) -> AdamState:
        step = jnp.zeros((), jnp.int32)
        rate = rate_at(self.learning_rate, step)
        return AdamState(step, rate, tree.zeros_like(params), tree.zeros_like(params))

    def update(
        self, grads: PyTree, state: AdamState, params: Params | None = None
    ) -> tuple[PyTree, AdamState]:
        rate, step = rate_at(self.learning_rate, state.step), state.step + 1
        m = decayed_average(self.b1, state.first_moment, grads)
        v = decayed_average(self.b2, state.second_moment, jax.tree.map(jnp.square, grads))
        m_factor = rate / bias_correction(self.b1, step)
        v_factor = 1 / bias_correction(self.b2, step)

        def leaf_update(m: Array, v: Array) -> Array:
            a, c = m_factor.astype(m.dtype), v_factor.astype(v.dtype)
            return -a * m / (jnp.sqrt(c * v) + jnp.asarray(self.eps, v.dtype))

        return jax.tree.map(leaf_update, m, v), AdamState(step, rate, m, v)


def decayed_average(decay: float, average: PyTree, new: PyTree) -> PyTree:
    """Return decay · average + (1 - decay) · new, in the dtype of the average."""

    def leaf_average(a: Array, x: Array) -> Array:
        keep, take = jnp.asarray(decay, a.dtype), jnp.asarray(1 - decay, a.dtype)
        return keep * a + take * x.astype(a.dtype)

    return jax.tree.map(leaf_average, average, new)


def bias_correction(decay: float, step: Array) -> Array:
    """Return 1 - decayᵗ: what share of the average's weight is on gradients by now."""
    t = step.astype(jnp.result_type(float))
    return 1 - jnp.asarray(decay, t.dtype) ** t
