"""Stopping when a metric no longer improves, and going back to where it was best."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.types import PyTree
from fnn.values import Value


class StoppingState(NamedTuple):
    """The state of `EarlyStopping` between epochs.

    `best` is the best value so far, and `params` are the parameters that reached it.
    `waited` counts the epochs since then, and `stop` says whether it is time to stop.
    Outside of `jit` they are NumPy's scalars, so that `best` is the very value that was
    given, in float64.
    """

    best: Any
    params: PyTree
    waited: Any
    stop: Any


class EarlyStopping(Value):
    """Stop once a metric has not improved for `patience` epochs, and keep the best.

    A value m improves on the best so far, m*, if m < m* - min_delta (or m > m* + min_delta
    if the metric grows); NaN never does. Values are compared in float64 outside of `jit`,
    and in their own dtype inside. `init` and `update` are pure functions, which also run
    inside `jit` and `scan`. `fnn.fit` calls them after every epoch, and returns the best
    parameters, whatever ended training.

    Source: Prechelt 1998, "Early stopping - but when?".

    Args:
        patience: Number of epochs without improvement after which to stop.
        metric: A column of the history.
        min_delta: A value must be better by more than this to count as better.
        grows: Whether larger values of the metric are better, as for accuracy.

    Raises:
        ValueError: If patience is not a positive integer, or `min_delta` is negative.

    Example:
        >>> stopping = fnn.EarlyStopping(patience=2)
        >>> state = stopping.init({"w": jax.numpy.zeros(())})
        >>> for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.5]):
        ...     state = stopping.update(state, loss, {"w": jax.numpy.float32(epoch)})
        >>> print(state.stop, state.best, state.params["w"])
        True 1.0 1.0
    """

    patience: int
    metric: str = "val_loss"
    min_delta: float = 0.0
    grows: bool = False

    def __post_init__(self) -> None:
        self._set(patience=checks.positive_integer("patience", self.patience))
        checks.between("min_delta", self.min_delta, 0, math.inf)
        if not isinstance(self.metric, str):
            raise TypeError(f"metric must be a column of the history, got {self.metric!r}")

    def init(self, params: PyTree) -> StoppingState:
        """Return the state before the first epoch."""
        # Inside of `jit` without x64, NumPy's float64 counts as float32.
        worst = np.float64(-np.inf if self.grows else np.inf)
        return StoppingState(worst, params, np.int32(0), np.bool_(False))

    def update(self, state: StoppingState, value: Any, params: PyTree) -> StoppingState:
        """Return the state after an epoch.

        Args:
            state: From `init`, or from the update before.
            value: The metric, ().
            params: A tree like that of `init`: the parameters that reached the value.
        """
        best: Any
        waited: Any
        if isinstance(value, jax.core.Tracer) or isinstance(state.best, jax.core.Tracer):
            value, best = jnp.asarray(value), jnp.asarray(state.best)
            wide = jnp.promote_types(value.dtype, best.dtype)
            gain = self._gain(value.astype(wide), best.astype(wide))
            better = gain > jnp.asarray(self.min_delta, wide)
            best = jnp.where(better, value.astype(best.dtype), best)
            waited = jnp.where(better, 0, state.waited + 1)
        else:
            value, best = np.float64(value), np.float64(state.best)
            better = self._gain(value, best) > np.float64(self.min_delta)
            best = value if better else best
            waited = np.int32(0) if better else np.int32(state.waited) + np.int32(1)
        # `jit` makes copies: the caller may donate the parameters to its next step.
        params = _where(better, params, state.params)
        return StoppingState(best, params, waited, waited >= self.patience)

    def _gain(self, value: Any, best: Any) -> Any:
        with np.errstate(invalid="ignore"):  # ∞ - ∞ is NaN, which is above nothing
            return value - best if self.grows else best - value


_where = jax.jit(tree.where)
