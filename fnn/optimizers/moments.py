"""Adam and its kin: steps made of moving averages of gradients and their squares.

In all of them the steps t count from 1, the averages m and v start from 0, and

    m ← β₁ m + (1 - β₁) g       m̂ = m / (1 - β₁ᵗ)
    v ← β₂ v + (1 - β₂) g²      v̂ = v / (1 - β₂ᵗ)
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.adaptive import ratio
from fnn.optimizers.arithmetic import (
    advance,
    bias_correction,
    check_decay,
    moving_average,
    narrow,
    start,
    wide_zeros,
    widen,
)
from fnn.optimizers.base import LearningRate, Optimizer, check_learning_rate
from fnn.optimizers.selection import as_pattern
from fnn.optimizers.weight_decay import decayed
from fnn.tree import Pattern
from fnn.types import Array, Params, PyTree, as_number


class AdamState(NamedTuple):
    """What `Adam` and most of its kin carry.

    Steps, (), the rate, (), and the moments m and v, like the parameters; with `AdaMax`, u
    in place of v.
    """

    step: Array
    learning_rate: Array
    first_moment: PyTree
    second_moment: PyTree


class MomentOptimizer(Optimizer):
    """What Adam and its kin are configured with; it has no `update` of its own."""

    learning_rate: LearningRate
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        check_decay("b1", self.b1)
        check_decay("b2", self.b2)
        checks.between("eps", self.eps, 0, float("inf"))

    def init(self, params: Params) -> Any:
        moments = wide_zeros(params), wide_zeros(params)
        return AdamState(*start(self.learning_rate), *moments)

    def _next(self, grads: PyTree, state: AdamState) -> AdamState:
        """Return the state after this step, with m and v."""
        step, rate = advance(self.learning_rate, state.step)
        g = widen(grads)
        m = moving_average(self.b1, state.first_moment, g)
        v = moving_average(self.b2, state.second_moment, jax.tree.map(jnp.square, g))
        return AdamState(step, rate, m, v)

    def _direction(self, state: AdamState) -> PyTree:
        """Return m̂ / (√v̂ + ε)."""
        a = 1 / bias_correction(self.b1, state.step)
        c = 1 / bias_correction(self.b2, state.step)

        def of_leaf(m: Array, v: Array) -> PyTree:
            return _adam(m, v, as_number(a, v.dtype), as_number(c, v.dtype), self.eps)

        return jax.tree.map(of_leaf, state.first_moment, state.second_moment)

    def _corrected(self, state: AdamState) -> tuple[PyTree, PyTree]:
        """Return m̂ and v̂."""
        _, _, m, v = state
        m_hat = tree.scale(1 / bias_correction(self.b1, state.step), m)
        v_hat = tree.scale(1 / bias_correction(self.b2, state.step), v)
        return m_hat, v_hat


# Traced once for all leaves that are alike.
@functools.partial(jax.jit, inline=True)
def _adam(m: Array, v: Array, a: Array, c: Array, eps: float) -> PyTree:
    return ratio(a * m, c * v, eps)


class Adam(MomentOptimizer):
    """Adaptive moment estimation: w ← w - α m̂ / (√v̂ + ε).

    With t counting from 1, m and v starting from 0:

        m ← β₁ m + (1 - β₁) g           m̂ = m / (1 - β₁ᵗ)
        v ← β₂ v + (1 - β₂) g²          v̂ = v / (1 - β₂ᵗ)

    Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the average of their squares.
        eps: ε, which bounds the step where the gradients vanish.

    Raises:
        ValueError: If the rate is negative or a decay is not from 0 to below 1.

    Example:
        >>> adam = fnn.optimizers.Adam(0.1)
        >>> state = adam.init({"w": jax.numpy.zeros(2)})
        >>> updates, state = adam.update({"w": jax.numpy.array([7.0, -0.01])}, state)
        >>> [f"{update:.4f}" for update in updates["w"]]
        ['-0.1000', '0.1000']
    """

    def update(
        self, grads: PyTree, state: AdamState, params: Params | None = None
    ) -> tuple[PyTree, AdamState]:
        state = self._next(grads, state)
        direction = self._direction(state)
        return narrow(tree.scale(-state.learning_rate, direction), grads), state


class AdamW(MomentOptimizer):
    """Adam with decoupled weight decay: w ← w - α (m̂ / (√v̂ + ε) + λ w).

    **Only kernels decay** unless `on` says otherwise; PyTorch's and Optax's AdamW decay
    biases and norms' scales too, which is `on="*"` here. As in those, the decay is
    multiplied by α. m̂ and v̂ are Adam's.

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the average of their squares.
        eps: ε, which bounds the step where the gradients vanish.
        weight_decay: λ.
        on: Which leaves decay: a glob on the path, or several.

    Raises:
        ValueError: If a number is out of range; from `update`, if it gets no parameters,
            or a glob matches no leaf.
        TypeError: If `on` is no pattern.

    Example:
        >>> adamw = fnn.optimizers.AdamW(0.1, weight_decay=0.5)
        >>> params = {"kernel": jax.numpy.array([2.0]), "bias": jax.numpy.array([2.0])}
        >>> zeros = fnn.tree.zeros_like(params)
        >>> adamw.update(zeros, adamw.init(params), params)[0]
        {'bias': Array([-0.], dtype=float32), 'kernel': Array([-0.1], dtype=float32)}
    """

    weight_decay: float = 1e-2
    on: Pattern = "*kernel"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("weight_decay", self.weight_decay, 0, float("inf"))
        self._set(on=as_pattern("on", self.on))

    def update(
        self, grads: PyTree, state: AdamState, params: Params | None = None
    ) -> tuple[PyTree, AdamState]:
        state = self._next(grads, state)
        direction = self._direction(state)
        direction = decayed(direction, params, self.weight_decay, self.on, "AdamW")
        return narrow(tree.scale(-state.learning_rate, direction), grads), state


class Nadam(MomentOptimizer):
    """Adam with Nesterov's momentum: w ← w - α m̄ / (√v̂ + ε).

        m̄ = β₁ m / (1 - β₁ᵗ⁺¹) + (1 - β₁) g / (1 - β₁ᵗ)

    with m and v̂ as in Adam, and β₁ the same at every step (PyTorch lets it rise).

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the average of their squares.
        eps: ε, which bounds the step where the gradients vanish.

    Raises:
        ValueError: If the rate is negative or a decay is not from 0 to below 1.

    Example:
        >>> nadam = fnn.optimizers.Nadam(0.1, b1=0.5)
        >>> state = nadam.init({"w": jax.numpy.zeros(1)})
        >>> updates, state = nadam.update({"w": jax.numpy.array([7.0])}, state)
        >>> f"{updates['w'][0]:.4f}"
        '-0.1333'
    """

    def update(
        self, grads: PyTree, state: AdamState, params: Params | None = None
    ) -> tuple[PyTree, AdamState]:
        state = self._next(grads, state)
        _, v_hat = self._corrected(state)
        ahead = tree.scale(
            self.b1 / bias_correction(self.b1, state.step + 1), state.first_moment
        )
        now = tree.scale((1 - self.b1) / bias_correction(self.b1, state.step), widen(grads))
        direction = ratio(tree.add(ahead, now), v_hat, self.eps)
        return narrow(tree.scale(-state.learning_rate, direction), grads), state


class AMSGradState(NamedTuple):
    """What `AMSGrad` carries: steps, rate and moments as `Adam` does, and the largest v̂."""

    moments: AdamState
    largest: PyTree


class AMSGrad(MomentOptimizer):
    """Adam whose steps only get shorter: w ← w - α m̂ / (√u + ε), u ← max(u, v̂).

    u is the largest v̂ so far. m̂ and v̂ are Adam's, with bias correction, which the paper
    leaves out of its algorithm for simplicity.

    Source: Reddi, Kale & Kumar 2018, "On the convergence of Adam and beyond".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the average of their squares.
        eps: ε, which bounds the step where the gradients vanish.

    Raises:
        ValueError: If the rate is negative or a decay is not from 0 to below 1.

    Example:
        >>> amsgrad = fnn.optimizers.AMSGrad(0.1, b1=0.0)
        >>> state = amsgrad.init({"w": jax.numpy.zeros(1)})
        >>> for gradient in (8.0, 1.0):
        ...     updates, state = amsgrad.update({"w": jax.numpy.array([gradient])}, state)
        >>> f"{updates['w'][0]:.4f}"
        '-0.0125'
    """

    def init(self, params: Params) -> AMSGradState:
        return AMSGradState(super().init(params), wide_zeros(params))

    def update(
        self, grads: PyTree, state: AMSGradState, params: Params | None = None
    ) -> tuple[PyTree, AMSGradState]:
        moments = self._next(grads, state.moments)
        m_hat, v_hat = self._corrected(moments)
        largest = jax.tree.map(jnp.maximum, state.largest, v_hat)
        direction = ratio(m_hat, largest, self.eps)
        updates = tree.scale(-moments.learning_rate, direction)
        return narrow(updates, grads), AMSGradState(moments, largest)

    def learning_rates(self, state: AMSGradState, params: PyTree) -> PyTree:
        return super().learning_rates(state.moments, params)

    def named_rates(self, state: AMSGradState) -> dict[str, Array]:
        return super().named_rates(state.moments)


class AdaMax(MomentOptimizer):
    """Adam with the largest gradient in place of the root of the squares: w ← w - α m̂ / u.

        u ← max(β₂ u, |g| + ε)          starting from u = 0; it needs no bias correction

    m̂ is Adam's. ε, which the paper lacks, keeps u from 0.

    Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", section 7.1.

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the largest one.
        eps: ε.

    Raises:
        ValueError: If the rate is negative or a decay is not from 0 to below 1.

    Example:
        >>> adamax = fnn.optimizers.AdaMax(0.1)
        >>> state = adamax.init({"w": jax.numpy.zeros(2)})
        >>> updates, state = adamax.update({"w": jax.numpy.array([7.0, -0.01])}, state)
        >>> [f"{update:.4f}" for update in updates["w"]]
        ['-0.1000', '0.1000']
    """

    def update(
        self, grads: PyTree, state: AdamState, params: Params | None = None
    ) -> tuple[PyTree, AdamState]:
        step, rate = advance(self.learning_rate, state.step)
        g = widen(grads)
        m = moving_average(self.b1, state.first_moment, g)
        u = jax.tree.map(self._larger, state.second_moment, g)
        m_hat = tree.scale(1 / bias_correction(self.b1, step), m)
        updates = tree.scale(-rate, jax.tree.map(jnp.divide, m_hat, u))
        return narrow(updates, grads), AdamState(step, rate, m, u)

    def _larger(self, u: Array, g: Array) -> Array:
        return jnp.maximum(
            tree.scale(self.b2, u), jnp.abs(g) + jnp.asarray(self.eps, g.dtype)
        )
