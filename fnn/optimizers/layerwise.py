"""Optimizers that look at a layer's weights as a whole."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import (
    check_optimizer,
    learning_rates,
    named_rates,
    takes_extra,
    updated,
)
from fnn.optimizers.gradient_descent import MomentumState
from fnn.optimizers.leafwise import Leafwise, Now, root
from fnn.optimizers.moments import Adam, MomentOptimizer
from fnn.optimizers.selection import as_pattern, extra_of_part, keep
from fnn.optimizers.weight_decay import decaying
from fnn.squares import norms, resized
from fnn.tree import Pattern
from fnn.types import Array, GradientTransformation, Params, PyTree

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration of `Muon`: s ← 3.4445 s - 4.775 s³ + 2.0315 s⁵."""


class LAMB(MomentOptimizer):
    """Adam with steps in proportion to the length of each layer's weights.

        u = m̂ / (√v̂ + ε) + λ w
        w ← w - α (‖w‖ / ‖u‖) u         for each leaf; a ratio of 1 where a norm is 0

    m̂ and v̂ are Adam's. In a leaf that `fnn.Repeat` stacks, each layer has its own norms.
    It is made for batches of thousands of examples.

    Source: You et al. 2020, "Large batch optimization for deep learning: training BERT in
    76 minutes".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        b1: β₁, the decay of the average of the gradients.
        b2: β₂, the decay of the average of their squares.
        eps: ε, which bounds the step where the gradients vanish.
        weight_decay: λ.
        on: The leaves that decay: a glob on the path, or several. By default kernels
            alone, and neither biases nor scales.

    Raises:
        ValueError: If a number is out of range; from `update`, if it gets no parameters,
            or a glob matches no leaf.
        TypeError: If `on` is not a pattern.

    Example:
        >>> lamb = fnn.optimizers.LAMB(0.1, weight_decay=0.0)
        >>> params = {"kernel": jax.numpy.array([3.0, 4.0])}
        >>> grads = {"kernel": jax.numpy.array([0.5, -0.5])}
        >>> updates, state = lamb.update(grads, lamb.init(params), params)
        >>> [f"{update:.4f}" for update in updates["kernel"]]
        ['-0.3536', '0.3536']
    """

    eps: float = 1e-6
    weight_decay: float = 1e-2
    on: Pattern = "*kernel"

    reads_params = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("weight_decay", self.weight_decay, 0, float("inf"))
        self._set(on=as_pattern("on", self.on))

    def decays(self, params: Params | None) -> PyTree | None:
        return decaying(params, self.weight_decay, self.on, "LAMB")

    def rule(self, g: Array, m: Array, v: Array, now: Now) -> tuple[Array, Array, Array]:
        m, v, m_hat, v_hat = self.averages(g, m, v, now)
        u = m_hat / (root(v_hat) + self.eps)
        if now.decays:
            u = u + self.weight_decay * now.w
        own, wanted = norms([[u], [now.w]], (0, 0))
        return now.minus_rate * _as_long_as(u, own, wanted), m, v


class MuonState(NamedTuple):
    """The state of `Muon`.

    The state of the optimizer `others`, the number of steps taken, (), the rate last used,
    (), and the velocity of the matrices.
    """

    others: Any
    step: Array
    learning_rate: Array
    velocity: PyTree


class Muon(Leafwise):
    """Momentum, orthogonalized: every direction of a matrix moves equally fast.

        V ← μ V + G,    starting from V = 0;   D = μ V + G
        W ← W - α √max(1, out/in) O(D)         for W of shape (in, out)

    O(D) replaces the singular values of D by numbers between 0.7 and 1.2, nearly:
    X = D / ‖D‖, then `iterations` times X ← a X + b X Xᵀ X + c X Xᵀ X Xᵀ X, with a, b, c
    = 3.4445, -4.7750, 2.0315.

    **Leaves of two axes are matrices.** All others go to the optimizer `others`: biases,
    norms' scales, convolutions' kernels. A kernel that `fnn.Repeat` stacks is a matrix for
    each layer. Give `others`, by `ByPath`, also the matrices that belong to no hidden
    layer: embeddings, the output layer. For weight decay, put Muon into `DecoupledDecay`.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.
        momentum: μ, from 0 to 1.
        iterations: Number of iterations.
        others: The optimizer of leaves that are not matrices, with a rate of its own.

    Raises:
        ValueError: If the rate is negative, the momentum out of range or `iterations` not
            a positive integer.
        TypeError: If `others` is not an optimizer.

    Example:
        >>> muon = fnn.optimizers.Muon(0.02, others=fnn.optimizers.Adam(3e-4))
        >>> params = {"kernel": jax.numpy.ones((3, 3)), "bias": jax.numpy.ones(3)}
        >>> grads = {"kernel": jax.numpy.eye(3), "bias": jax.numpy.ones(3)}
        >>> updates, state = muon.update(grads, muon.init(params), params)
        >>> f"{updates['kernel'][0, 0]:.2f}", f"{updates['bias'][0]:.4f}"
        ('-0.01', '-0.0003')
    """

    momentum: float = 0.95
    iterations: int = 5
    others: GradientTransformation = Adam(3e-4)

    State = MomentumState  # of the matrices

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between("momentum", self.momentum, 0, 1)
        self._set(iterations=checks.positive_integer("iterations", self.iterations))
        check_optimizer(self.others, "Muon, for leaves that are not matrices,")

    def init(self, params: Params) -> MuonState:
        matrices, rest = _matrices_and_others(params)
        others = self.others.init(rest)
        return MuonState(others, *super().init(matrices))

    def update(
        self, grads: PyTree, state: MuonState, params: Params | None = None, **extra: Any
    ) -> tuple[PyTree, MuonState]:
        matrices, rest = _matrices_and_others(grads)
        rest_params = None if params is None else _matrices_and_others(params)[1]
        extra = extra_of_part(extra, lambda tree: _matrices_and_others(tree)[1], params)
        rest, others = updated(self.others, rest, state.others, rest_params, extra)

        now = self.next(state)
        updates, [velocity] = self.by_leaf(matrices, [state.velocity], now)
        return tree.merge(updates, rest), MuonState(others, now.t, now.rate, velocity)

    def rule(self, g: Array, v: Array, now: Now) -> tuple[Array, Array]:
        v = self.momentum * v + g
        ahead = self.momentum * v + g
        rows, columns = g.shape
        widening = max(1, columns / max(1, rows)) ** 0.5
        return now.minus_rate * (widening * orthogonalized(ahead, self.iterations)), v

    def takes_extra(self) -> bool:
        return takes_extra(self.others)

    def learning_rates(self, state: MuonState, params: PyTree) -> PyTree:
        matrices, rest = _matrices_and_others(params)
        own = jax.tree.map(lambda _: state.learning_rate, matrices)
        return tree.merge(own, learning_rates(self.others, state.others, rest))

    def inner(self, state: MuonState) -> Iterable[tuple[GradientTransformation, Any]]:
        return ((self.others, state.others),)

    def named_rates(self, state: MuonState) -> dict[str, Array]:
        others = named_rates(self.others, state.others)
        named = {f"[others]{name}": rate for name, rate in others.items()}
        return {"": state.learning_rate} | named


def orthogonalized(matrix: Array, iterations: int) -> Array:
    """Return the matrix, (..., in, out), with its singular values all brought near 1."""
    a, b, c = QUINTIC
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    [length] = norms([[x]], (x.ndim - 2,))
    x = resized(x, length, jnp.ones_like(length))
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def _matrices_and_others(params: PyTree) -> tuple[PyTree, PyTree]:
    axes = tree.stacked_axes(params)
    matrix = jax.tree.map(lambda leaf, stacked: leaf.ndim - stacked == 2, params, axes)
    other = jax.tree.map(lambda is_matrix: not is_matrix, matrix)
    return keep(matrix, params), keep(other, params)


def _as_long_as(direction: Array, own: Array, wanted: Array) -> Array:
    """Return the direction with the wanted norm in place of its own, unless one is 0."""
    both = (own > 0) & (wanted > 0)
    own, wanted = jnp.where(both, own, 1), jnp.where(both, wanted, 1)
    return resized(direction, own, wanted.astype(own.dtype))
