"""One step of training, as a pure function of a state and a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optimizers.base import apply_updates, check_optimizer
from fnn.training.objective import PerExampleGradient
from fnn.types import Array, GradientTransformation, Key, Params, PyTree, State
from fnn.values import Value, show


class TrainState(NamedTuple):
    """All that changes in training: parameters, state, optimizer state, key, step.

    The key stays as it is; the key of each step is made of it and of the step's number.

    Example:
        >>> params = {"w": jax.numpy.zeros(3)}
        >>> adam = fnn.optimizers.Adam(1e-3)
        >>> train_state = fnn.TrainState.create(params, {}, adam, key=jax.random.key(0))
        >>> train_state.step
        Array(0, dtype=int32)
    """

    params: Params
    state: State
    opt_state: Any
    key: Key
    step: Array

    @classmethod
    def create(
        cls,
        params: Params,
        state: State,
        optimizer: GradientTransformation,
        *,
        key: Key,
    ) -> "TrainState":
        """Return the state before the first step."""
        checks.typed_key(key, "training")
        step = jnp.zeros((), jnp.int32)
        return cls(params, state, optimizer.init(params), key, step)


class Step(Value):
    """One step of training; see `make_step`, which makes it.

    Example:
        >>> objective = fnn.supervised(fnn.Dense(2), fnn.losses.squared_error)
        >>> fnn.make_step(objective, fnn.optimizers.SGD(0.1)).optimizer
        fnn.optimizers.SGD(0.1)
    """

    objective: Callable[..., Any]
    optimizer: Any
    gradient: PerExampleGradient | None = None

    def __call__(
        self, train_state: TrainState, batch: PyTree
    ) -> tuple[TrainState, dict[str, Array]]:
        """Return the state after one step, and the metrics of the batch before it."""
        params, state, opt_state, key, step = train_state
        step_key = jax.random.fold_in(key, step)
        grads, (state, metrics) = self._gradient(params, state, batch, step_key)
        updates, opt_state = self.optimizer.update(grads, opt_state, params)
        params = apply_updates(params, updates)
        return TrainState(params, state, opt_state, key, step + 1), metrics

    def _gradient(self, *arguments: Any) -> tuple[Params, tuple[State, dict[str, Array]]]:
        if self.gradient is None:
            return jax.grad(self.objective, has_aux=True)(*arguments)
        objective: Any = self.objective
        return objective.per_example_gradient(self.gradient, *arguments)


def make_step(
    objective: Callable[..., Any],
    optimizer: GradientTransformation,
    *,
    gradient: PerExampleGradient | None = None,
) -> Step:
    """Make the pure function `(train_state, batch) -> (train_state, metrics)`.

    Args:
        objective: Called `(params, state, batch, key)`; returns
            `(objective, (state, metrics))`, as what `supervised` makes does.
        optimizer: fnn's or Optax's.
        gradient: In place of the gradient of the mean loss, a transform of the loss of
            one example, such as `functools.partial(fnn.per_example.clipped_gradient,
            max_norm=1.0, normalize_by=64)`. The objective must have a method
            `per_example_gradient`, as what `supervised` makes does; the weights of a
            batch are then booleans. The step also reports `"clipped"`, the share of the
            examples that were, and `"gradient_norm"`, the mean norm before.

    Returns:
        A value; `jax.jit` it, or call it inside your own loop.

    Raises:
        TypeError: If the optimizer is none, or the objective has no gradients of single
            examples where `gradient` asks for them.

    Example:
        >>> model, adam = fnn.Dense(1), fnn.optimizers.Adam(0.1)
        >>> x, y = jax.numpy.ones((4, 3)), jax.numpy.ones(4)
        >>> params, state = model.init(jax.random.key(0), x[0])
        >>> train_state = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
        >>> objective = fnn.supervised(model, fnn.losses.squared_error)
        >>> step = jax.jit(fnn.make_step(objective, adam))
        >>> for _ in range(200):
        ...     train_state, metrics = step(train_state, (x, y))
        >>> print(f"{metrics['loss']:.4f}")
        0.0000
    """
    check_optimizer(optimizer, "make_step")
    if gradient is not None and not hasattr(objective, "per_example_gradient"):
        raise TypeError(
            f"gradient needs an objective with a method per_example_gradient, such as "
            f"fnn.supervised makes; got {show(objective)}"
        )
    return Step(objective, optimizer, gradient)
