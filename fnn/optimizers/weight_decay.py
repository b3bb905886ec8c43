"""Weight decay: on kernels, unless told otherwise; never on biases or norms' scales."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.optimizers.base import (
    Optimizer,
    Wrapping,
    check_optimizer,
    frozen_mask,
    learning_rates,
    loss_scale,
    needed,
    updated,
)
from fnn.optimizers.selection import as_pattern, matches, with_zeros, without_frozen
from fnn.tree import Pattern
from fnn.types import Array, Params, PyTree
from fnn.values import show


def decayed(
    updates: PyTree,
    params: Params | None,
    factors: float | Array | PyTree,
    on: Pattern,
    owner: str,
) -> PyTree:
    """Return updates + factor · params where `on` matches, and `updates` elsewhere.

    The factor is one number, also NumPy's or a traced one, or a tree of one for each leaf.
    """
    if isinstance(factors, float | int | np.number) and factors == 0:
        return updates

    def leaf_decayed(match: bool, leaf: Array, p: Array, factor: float | Array) -> Array:
        if not match or leaf is None:
            return leaf
        return leaf + jnp.asarray(factor, leaf.dtype) * p.astype(leaf.dtype)

    params = needed(params, owner)
    decays = matches(params, on, owner)
    if jax.tree_util.all_leaves([factors]):
        factors = jax.tree.map(lambda _, factor=factors: factor, decays)
    return jax.tree.map(leaf_decayed, decays, updates, params, factors)


def decaying(
    params: Params | None, decay: float | Array, on: Pattern, owner: str
) -> PyTree | None:
    """Return which leaves `on` matches, a tree of booleans; `None` if the decay is 0."""
    if not isinstance(decay, jax.Array) and decay == 0:
        return None
    return matches(needed(params, owner), on, owner)


class AddDecayedWeights(Optimizer):
    """Add a share of the weights to their gradients: g ← g + decay · w.

    Put it before an optimizer in a `Chain`. Before `SGD` this is weight decay,
    w ← (1 - α decay) w - α g, which equals the gradient of an L2 penalty decay/2 ‖w‖².
    Before an optimizer that scales its gradients, such as `Adam`, it is that penalty but
    not weight decay: for that use `AdamW` or `DecoupledDecay`.

    Args:
        decay: The share, called λ.
        on: The leaves that decay: a glob on the path, or several. By default kernels
            alone, and neither biases nor scales.

    Raises:
        ValueError: If the decay is negative; from `update`, if it gets no parameters or a
            glob matches no leaf.
        TypeError: If `on` is not a pattern.

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


class DecoupledDecay(Wrapping):
    """Let the weights decay beside any optimizer: w ← w + u - α decay · w.

    u is the optimizer's own update, which does not see the decay, and α the rate of this
    update. Where an optimizer has several rates, as `ByPath` and `Muon` do, each leaf
    decays by the rate by which it moves. `DecoupledDecay(Adam(α), decay)` is
    `AdamW(α, weight_decay=decay)`. A leaf that the optimizer has frozen does not decay.

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization".

    Args:
        optimizer: fnn's, or another whose state has one field `learning_rate`.
        decay: λ, the share of a weight that is lost per step, divided by the rate.
        on: The leaves that decay: a glob on the path, or several. By default kernels
            alone, and neither biases nor scales.

    Raises:
        TypeError: If `optimizer` is not an optimizer, or `on` not a pattern.
        ValueError: If the decay is negative; from `init` and `update`, if a glob matches
            no leaf, or a leaf that decays has no rate; from `update`, if it gets no
            parameters.

    Example:
        >>> momentum = fnn.optimizers.Momentum(0.1)
        >>> optimizer = fnn.optimizers.DecoupledDecay(momentum, 0.5)
        >>> params = {"kernel": jax.numpy.array([2.0])}
        >>> grads = {"kernel": jax.numpy.array([3.0])}
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        {'kernel': Array([-0.4], dtype=float32)}
    """

    decay: float
    on: Pattern = "*kernel"

    def __post_init__(self) -> None:
        check_optimizer(self.optimizer, "DecoupledDecay")
        checks.between("decay", self.decay, 0, float("inf"))
        self._set(on=as_pattern("on", self.on))

    def init(self, params: Params) -> Any:
        state = self.optimizer.init(params)
        self._rates(state, params)
        return state

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        params = needed(params, "DecoupledDecay")
        updates, state = updated(self.optimizer, grads, state, params, extra)
        rates = self._rates(state, params)
        factors: dict[int, Array] = {}  # traced once for all leaves of one rate
        for rate in jax.tree.leaves(rates):
            if id(rate) not in factors:
                factors[id(rate)] = -rate * self.decay
        by_leaf = jax.tree.map(lambda rate: factors[id(rate)], rates)
        moving = without_frozen(self.optimizer, updates)
        less = decayed(moving, params, by_leaf, self.on, "DecoupledDecay")
        return with_zeros(less, grads), state

    def _rates(self, state: Any, params: Params) -> PyTree:
        """Return the rate of each leaf, or raise if one that decays has none."""
        rates = learning_rates(self.optimizer, state, params)
        without = tree.map_with_path(
            lambda path, decays, frozen, leaf, rate: (
                path
                if decays and not frozen and leaf is not None and rate is None
                else None
            ),
            matches(params, self.on, "DecoupledDecay"),
            frozen_mask(self.optimizer, params),
            params,
            rates,
        )
        if paths := jax.tree.leaves(without):
            raise ValueError(
                f"DecoupledDecay needs an optimizer whose state has a learning_rate; "
                f"{show(self.optimizer)} has none for {paths}"
            )
        return rates

    def own(self, state: Any) -> Any:
        return state

    def loss_scale(self, state: Any) -> Array | None:
        # The optimizer gets the gradients as they are, so that it may divide them.
        return loss_scale(self.optimizer, state)
