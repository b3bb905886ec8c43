"""Averages of the parameters over the steps, and the optimizer that follows one."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.arithmetic import check_decay, narrow, wide_copy, widen
from fnn.optimizers.base import (
    Wrapping,
    check_optimizer,
    needed,
    updated,
)
from fnn.optimizers.leafwise import one_minus_power
from fnn.optimizers.selection import with_zeros, without_frozen
from fnn.schedules.base import as_float
from fnn.types import Array, Params, PyTree
from fnn.values import Value


class AverageState(NamedTuple):
    """The state of `ExponentialMovingAverage` and `PolyakAverage`.

    Number of updates so far, (), and the average, like the parameters but in float32 at
    least.
    """

    step: Array
    average: PyTree


class ExponentialMovingAverage(Value):
    """Average the parameters, recent ones weighing most: a ← decay · a + (1 - decay) · w.

    With `debias`, a starts from 0 and is divided by 1 - decayᵗ, t counting the updates
    from 1: an average of what `update` was given, with weights that fall by `decay` and
    add up to 1. It is computed as a ← a + (w - a) (1 - decay) / (1 - decayᵗ), which is
    the same. Without, a starts from the first parameters, as the paper has it. Any tree
    of arrays can take the place of the parameters.

    Source: Tarvainen & Valpola 2017, "Mean teachers are better role models".

    Args:
        decay: The share of the average that stays, from 0 to below 1.
        debias: Whether the first update replaces the parameters that were given to `init`.

    Raises:
        ValueError: If the decay is out of range.

    Example:
        >>> ema = fnn.optimizers.ExponentialMovingAverage(0.5)
        >>> state = ema.init({"w": jax.numpy.array(0.0)})
        >>> for w in (3.0, 6.0):
        ...     state = ema.update({"w": jax.numpy.array(w)}, state)
        >>> ema.average(state)
        {'w': Array(5., dtype=float32)}
    """

    decay: float
    debias: bool = True

    def __post_init__(self) -> None:
        check_decay("decay", self.decay)

    def init(self, params: PyTree) -> AverageState:
        """Return the state before the first update; its average is `params`."""
        return AverageState(jnp.zeros((), jnp.int32), wide_copy(params))

    def update(self, params: PyTree, state: AverageState) -> AverageState:
        """Return the state with the parameters of one more step in it."""
        step = state.step + 1
        total = one_minus_power(self.decay, step) if self.debias else 1.0
        return AverageState(step, _toward(state.average, params, (1 - self.decay) / total))

    def average(self, state: AverageState) -> PyTree:
        """Return the average; float32 at least, for `fnn.tree.cast` to convert."""
        return state.average


class PolyakAverage(Value):
    """Average the parameters, all weighing the same: a ← a + (w - a) / n.

    n counts what is averaged: the parameters of update `start` (counted from 0), and of
    every `period`-th from there. Before, the average is the parameters themselves. With
    `start` late in training and `period` the steps of an epoch, this is stochastic weight
    averaging (SWA); running statistics of batch norms must then be computed anew.

    Source: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by
    averaging"; Izmailov et al. 2018, "Averaging weights leads to wider optima and better
    generalization".

    Args:
        start: Number of the first update that counts, from 0.
        period: Number of updates from one that counts to the next.

    Raises:
        ValueError: If `start` is negative, or `period` not a positive integer.

    Example:
        >>> polyak = fnn.optimizers.PolyakAverage(start=1)
        >>> state = polyak.init({"w": jax.numpy.array(0.0)})
        >>> for w in (9.0, 1.0, 2.0):
        ...     state = polyak.update({"w": jax.numpy.array(w)}, state)
        >>> polyak.average(state)
        {'w': Array(1.5, dtype=float32)}
    """

    start: int = 0
    period: int = 1

    def __post_init__(self) -> None:
        start = 0 if self.start == 0 else checks.positive_integer("start", self.start)
        self._set(start=start, period=checks.positive_integer("period", self.period))

    def init(self, params: Params) -> AverageState:
        """Return the state before the first update; its average is `params`."""
        return AverageState(jnp.zeros((), jnp.int32), wide_copy(params))

    def update(self, params: Params, state: AverageState) -> AverageState:
        """Return the state with the parameters of one more step in it."""
        since = state.step - self.start
        count = jnp.maximum(since // self.period + 1, 1)
        counts = (since < 0) | (since % self.period == 0)
        weight = jnp.where(counts, 1 / as_float(count), 0)
        return AverageState(state.step + 1, _toward(state.average, params, weight))

    def average(self, state: AverageState) -> Params:
        """Return the average; float32 at least, for `fnn.tree.cast` to convert."""
        return state.average


class LookaheadState(NamedTuple):
    """The optimizer's state, the number of steps taken, (), and the slow weights."""

    optimizer: Any
    step: Array
    slow: PyTree


class Lookahead(Wrapping):
    """Let an optimizer run ahead, then go a part of its way: s ← s + γ (w - s), w ← s.

    This happens after every `period` steps. γ is `slow_rate`, and s starts from the first
    parameters. The optimizer's state is not changed by it.

    Source: Zhang et al. 2019, "Lookahead optimizer: k steps forward, 1 step back".

    Args:
        optimizer: fnn's or Optax's.
        period: k, the number of steps that it runs ahead.
        slow_rate: γ, the part of the way that the slow weights go, from 0 to 1.

    Raises:
        TypeError: If `optimizer` is not an optimizer.
        ValueError: If a number is out of range; from `update`, if it gets no parameters.

    Example:
        >>> lookahead = fnn.optimizers.Lookahead(fnn.optimizers.SGD(1.0), period=2)
        >>> params, grads = {"w": jax.numpy.zeros(1)}, {"w": jax.numpy.ones(1)}
        >>> state = lookahead.init(params)
        >>> for _ in range(2):
        ...     updates, state = lookahead.update(grads, state, params)
        ...     params = fnn.optimizers.apply_updates(params, updates)
        ...     print(params["w"])
        [-1.]
        [-1.]
    """

    period: int = 5
    slow_rate: float = 0.5

    def __post_init__(self) -> None:
        check_optimizer(self.optimizer, "Lookahead")
        checks.between("slow_rate", self.slow_rate, 0, 1)
        self._set(period=checks.positive_integer("period", self.period))

    def init(self, params: Params) -> LookaheadState:
        moving = without_frozen(self.optimizer, params)
        step = jnp.zeros((), jnp.int32)
        return LookaheadState(self.optimizer.init(params), step, wide_copy(moving))

    def update(
        self,
        grads: PyTree,
        state: LookaheadState,
        params: Params | None = None,
        **extra: Any,
    ) -> tuple[PyTree, LookaheadState]:
        params = needed(params, "Lookahead")
        updates, own = updated(self.optimizer, grads, state.optimizer, params, extra)
        step = state.step + 1
        due = step % self.period == 0
        fast = widen(without_frozen(self.optimizer, updates))
        old = widen(without_frozen(self.optimizer, params))
        slow = _toward(state.slow, tree.add(old, fast), self.slow_rate)
        slow = tree.where(due, slow, state.slow)
        back = tree.where(due, tree.subtract(slow, old), fast)
        moved = with_zeros(back, grads)
        return narrow(moved, grads), LookaheadState(own, step, slow)


def _toward(average: PyTree, params: PyTree, share: float | Array) -> PyTree:
    """Return average + share · (params - average)."""
    return tree.add(average, tree.scale(share, tree.subtract(widen(params), average)))
