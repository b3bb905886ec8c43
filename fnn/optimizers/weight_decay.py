"""Weight decay: on kernels, unless told otherwise; never on biases or norms' scales."""

from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optimizers.base import (
    Optimizer,
    check_optimizer,
    current_learning_rate,
    frozen_mask,
    needed,
)
from fnn.optimizers.selection import as_pattern, matches, with_zeros, without_frozen
from fnn.tree import Pattern
from fnn.types import Array, GradientTransformation, Params, PyTree


def decayed(
    tree: PyTree,
    params: Params | None,
    factor: float | Array,
    on: Pattern,
    owner: str,
) -> PyTree:
    """Return tree + factor · params where `on` matches, and `tree` elsewhere."""
    if isinstance(factor, float | int) and factor == 0:
        return tree

    def leaf_decayed(match: bool, leaf: Array, p: Array) -> Array:
        if not match or leaf is None:
            return leaf
        return leaf + jnp.asarray(factor, leaf.dtype) * p.astype(leaf.dtype)

    params = needed(params, owner)
    return jax.tree.map(leaf_decayed, matches(params, on, owner), tree, params)


class AddDecayedWeights(Optimizer):
    """Add a share of the weights to their gradients: g ← g + decay · w.

    To be chained before an optimizer. Before `SGD` this is weight decay,
    w ← (1 - α decay) w - α g, and just as well the gradient of an L2 penalty
    decay/2 ‖w‖². Before an optimizer that scales its gradients, `Adam`, it is that
    penalty but no decay of the weights: for that use `AdamW`, or `DecoupledDecay`.

    Args:
        decay: The share, called λ.
        on: Which leaves: a glob on the path, or several. Kernels, if nothing else is
            said, and neither biases nor scales.

    Raises:
        ValueError: If the decay is negative; from `update`, if it gets no parameters or a
            glob matches no leaf.
        TypeError: If `on` is no pattern.

    Example:
        >>> decay = fnn.optimizers.AddDecayedWeights(0.1)
        >>> params = {"kernel": jax.numpy.array([2.0]), "bias": jax.numpy.array([2.0])}
        >>> zeros = fnn.tree.zeros_like(params)
        >>> decay.update(zeros, decay.init(params), params)[0]
        {'bias': Array([0.], dtype=float32), 'kernel': Array([0.2], dtype=float32)}
    """

    decay: float
    on: Pattern = "*kernel"

    def __post_init__(self) -> None:
        checks.between("decay", self.decay, 0, float("inf"))
        self._set(on=as_pattern("on", self.on))

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        params = needed(params, "AddDecayedWeights")
        return decayed(grads, params, self.decay, self.on, "AddDecayedWeights"), state


class DecoupledDecay(Optimizer):
    """Let the weights decay beside any optimizer: w ← w + u - α decay · w.

    u is the optimizer's own update and α its rate, which it doesn't otherwise see the
    decay. `DecoupledDecay(Adam(α), decay)` is `AdamW(α, weight_decay=decay)`. A leaf that
    the optimizer has frozen does not decay.

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization".

    Args:
        optimizer: fnn's, whose state has a rate.
        decay: λ, what share of a weight is lost per step, divided by the rate.
        on: Which leaves: a glob on the path, or several. Kernels, if nothing else is
            said, and neither biases nor scales.

    Raises:
        TypeError: If `optimizer` is none, or `on` no pattern.
        ValueError: If the decay is negative; from `update`, if it gets no parameters, a
            glob matches no leaf, or the optimizer's state has no rate.

    Example:
        >>> momentum = fnn.optimizers.Momentum(0.1)
        >>> optimizer = fnn.optimizers.DecoupledDecay(momentum, 0.5)
        >>> params = {"kernel": jax.numpy.array([2.0])}
        >>> grads = {"kernel": jax.numpy.array([3.0])}
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        {'kernel': Array([-0.4], dtype=float32)}
    """

    optimizer: GradientTransformation
    decay: float
    on: Pattern = "*kernel"

    def __post_init__(self) -> None:
        check_optimizer(self.optimizer, "DecoupledDecay")
        checks.between("decay", self.decay, 0, float("inf"))
        self._set(on=as_pattern("on", self.on))

    def init(self, params: Params) -> Any:
        return self.optimizer.init(params)

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        params = needed(params, "DecoupledDecay")
        updates, state = self.optimizer.update(grads, state, params)
        rate = current_learning_rate(state)
        if rate is None:
            raise ValueError(
                f"DecoupledDecay needs an optimizer whose state has a learning_rate, "
                f"got {self.optimizer!r}"
            )
        moving = without_frozen(self.optimizer, updates)
        less = decayed(moving, params, -rate * self.decay, self.on, "DecoupledDecay")
        return with_zeros(less, grads), state

    def frozen(self, params: PyTree) -> PyTree:
        return frozen_mask(self.optimizer, params)
