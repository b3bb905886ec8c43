"""The protocol of an optimizer, and what all of them share."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn.types import Array, GradientTransformation, Params, PyTree, Schedule
from fnn.values import Value, show

LearningRate: TypeAlias = float | Array | Schedule


class Optimizer(Value):
    """Base of every optimizer and gradient transform: a value with two pure functions.

    Example:
        >>> class Descent(fnn.optimizers.Optimizer):
        ...     def update(self, grads, state, params=None):
        ...         return fnn.tree.scale(-0.1, grads), state
        >>> updates, state = Descent().update({"w": jax.numpy.ones(1)}, ())
        >>> updates
        {'w': Array([-0.1], dtype=float32)}
    """

    def init(self, params: Params) -> Any:
        """Make the state for these parameters; none, unless a subclass overrides this."""
        return ()

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        """Turn gradients into updates, which are to be *added* to the parameters.

        Args:
            grads: A tree like the parameters.
            state: From `init`, or from the update before.
            params: The current parameters; only some optimizers need them.

        Returns:
            The updates, a tree like the parameters, and the new state.
        """
        raise TypeError(f"{type(self).__name__} does not define update")


class Chain(Optimizer):
    """Pass the gradients through several transforms, the optimizer last.

    Args:
        *stages: Optimizers or gradient transforms, fnn's or Optax's.

    Raises:
        TypeError: If something lacks `init` or `update`.

    Example:
        >>> optimizer = fnn.optimizers.Chain(
        ...     fnn.optimizers.ClipByGlobalNorm(1.0), fnn.optimizers.SGD(0.1)
        ... )
        >>> state = optimizer.init({"w": jax.numpy.zeros(1)})
        >>> optimizer.update({"w": jax.numpy.array([5.0])}, state)[0]
        {'w': Array([-0.1], dtype=float32)}
    """

    transforms: tuple[GradientTransformation, ...]

    def __init__(self, *stages: Any, transforms: tuple[Any, ...] = ()) -> None:
        # `dataclasses.replace` passes the field itself.
        self._set(transforms=stages or transforms)
        for transform in self.transforms:
            check_optimizer(transform, "Chain")

    def init(self, params: Params) -> Any:
        return tuple(transform.init(params) for transform in self.transforms)

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        new = []
        for transform, old in zip(self.transforms, state, strict=True):
            grads, own = transform.update(grads, old, params)
            new.append(own)
        return grads, tuple(new)

    def _arguments(self) -> Iterator[str]:
        return map(show, self.transforms)


def apply_updates(params: Params, updates: PyTree) -> Params:
    """Return params + updates; every parameter keeps its dtype.

    Example:
        >>> apply_updates({"w": jax.numpy.ones(1)}, {"w": -jax.numpy.ones(1)})
        {'w': Array([0.], dtype=float32)}
    """
    return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)


def current_learning_rate(opt_state: Any) -> Array | None:
    """Return the rate that the last update used, read from an optimizer's state.

    Before the first update it is the rate that the first will use. Of a chain's
    optimizers the last one counts. A state without a rate gives `None`.

    Example:
        >>> adam = fnn.optimizers.Adam(1e-3)
        >>> current_learning_rate(adam.init({"w": jax.numpy.ones(1)}))
        Array(0.001, dtype=float32)
    """
    rates = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(opt_state)
        if getattr(path[-1], "name", None) == "learning_rate"
    ]
    return rates[-1] if rates else None


def rate_at(learning_rate: LearningRate, step: Array) -> Array:
    """Return the rate after `step` steps, ()."""
    rate = learning_rate(step) if callable(learning_rate) else learning_rate
    return jnp.asarray(rate, jnp.result_type(float))


def check_learning_rate(learning_rate: Any) -> None:
    """Raise unless it is a number that is not negative, an array or a schedule."""
    if callable(learning_rate):
        return
    if isinstance(learning_rate, bool | str) or jnp.ndim(learning_rate) != 0:
        raise ValueError(
            f"learning_rate must be one number or a schedule, got {learning_rate!r}"
        )
    if not isinstance(learning_rate, jax.Array) and not learning_rate >= 0:
        raise ValueError(f"learning_rate must not be negative, got {learning_rate!r}")


def check_optimizer(optimizer: Any, owner: str) -> None:
    """Raise unless `optimizer` has the functions of an optimizer."""
    instance = not isinstance(optimizer, type)
    if instance and all(callable(getattr(optimizer, f, 0)) for f in ("init", "update")):
        return
    raise TypeError(
        f"{owner} needs an optimizer with init(params) and update(grads, state, params), "
        f"such as fnn.optimizers.Adam(1e-3); got {show(optimizer)}"
    )
