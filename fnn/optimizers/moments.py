"""Adam and its kin: steps made of moving averages of gradients and their squares.

In all of them the steps t count from 1, the averages m and v start from 0, and

    m ← β₁ m + (1 - β₁) g       m̂ = m / (1 - β₁ᵗ)
    v ← β₂ v + (1 - β₂) g²      v̂ = v / (1 - β₂ᵗ)
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optimizers.arithmetic import check_decay, wide_zeros
from fnn.optimizers.leafwise import Leafwise, Now, one_minus_power, root
from fnn.optimizers.selection import as_pattern
from fnn.optimizers.weight_decay import decaying
from fnn.tree import Pattern
from fnn.types import Array, Params, PyTree


class AdamState(NamedTuple):
    """The state of `Adam` and most of its kin.

    Number of steps taken, (), the rate last used, (), and the moments m and v, like the
    parameters; u in place of v in `AdaMax`.
    """

    step: Array
    learning_rate: Array
    first_moment: PyTree
    second_moment: PyTree


class Unbiasing(NamedTuple):
    """1 / (1 - β₁ᵗ) and 1 / (1 - β₂ᵗ), (): a product is cheaper than a quotient."""

    m: Array
    v: Array


class MomentOptimizer(Leafwise):
    """Base of Adam and its kin: their settings, and their moments without bias."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    State = AdamState

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("b1", self.b1)
        check_decay("b2", self.b2)
        checks.between("eps", self.eps, 0, float("inf"))

    def shared(self, t: Array) -> Any:
        return Unbiasing(1 / one_minus_power(self.b1, t), 1 / one_minus_power(self.b2, t))

    def averages(
        self, g: Array, m: Array, v: Array, now: Now
    ) -> tuple[Array, Array, Array, Array]:
        """Return m and v after this step, and m̂ and v̂."""
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * jnp.square(g)
        return m, v, m * now.shared.m, v * now.shared.v


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

    def rule(self, g: Array, m: Array, v: Array, now: Now) -> tuple[Array, Array, Array]:
        m, v, m_hat, v_hat = self.averages(g, m, v, now)
        return now.minus_rate * (m_hat / (root(v_hat) + self.eps)), m, v


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
        on: The leaves that decay: a glob on the path, or several.

    Raises:
        ValueError: If a number is out of range; from `update`, if it gets no parameters,
            or a glob matches no leaf.
        TypeError: If `on` is not a pattern.

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

    def decays(self, params: Params | None) -> PyTree | None:
        return decaying(params, self.weight_decay, self.on, "AdamW")

    def rule(self, g: Array, m: Array, v: Array, now: Now) -> tuple[Array, Array, Array]:
        m, v, m_hat, v_hat = self.averages(g, m, v, now)
        u = m_hat / (root(v_hat) + self.eps)
        if now.decays:
            u = u + self.weight_decay * now.w
        return now.minus_rate * u, m, v


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

    def shared(self, t: Array) -> Any:
        """Return the weights of m and g in m̄, and 1 / (1 - β₂ᵗ)."""
        of_m = self.b1 / one_minus_power(self.b1, t + 1)
        of_g = (1 - self.b1) / one_minus_power(self.b1, t)
        return of_m, of_g, 1 / one_minus_power(self.b2, t)

    def rule(self, g: Array, m: Array, v: Array, now: Now) -> tuple[Array, Array, Array]:
        of_m, of_g, unbiased = now.shared
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * jnp.square(g)
        ahead = of_m * m + of_g * g
        return now.minus_rate * (ahead / (root(unbiased * v) + self.eps)), m, v


class AMSGradState(NamedTuple):
    """The state of `Adam`, and the largest v̂ so far."""

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
        now, (_, _, m, v) = self.next(state.moments), state.moments
        updates, (m, v, largest) = self.by_leaf(grads, (m, v, state.largest), now)
        return updates, AMSGradState(AdamState(now.t, now.rate, m, v), largest)

    def rule(
        self, g: Array, m: Array, v: Array, u: Array, now: Now
    ) -> tuple[Array, Array, Array, Array]:
        m, v, m_hat, v_hat = self.averages(g, m, v, now)
        u = jnp.maximum(u, v_hat)
        return now.minus_rate * (m_hat / (root(u) + self.eps)), m, v, u

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

    def shared(self, t: Array) -> Any:
        return 1 / one_minus_power(self.b1, t)

    def rule(self, g: Array, m: Array, u: Array, now: Now) -> tuple[Array, Array, Array]:
        m = self.b1 * m + (1 - self.b1) * g
        u = jnp.maximum(self.b2 * u, jnp.abs(g) + self.eps)
        return now.minus_rate * (now.shared * m / u), m, u
