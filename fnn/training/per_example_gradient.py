"""Gradients of a step that are computed from those of single examples, with their state."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.types import Params, PyTree
from fnn.values import Value, show

if TYPE_CHECKING:
    from fnn.per_example import Clipped


class PerExampleGradient(Value):
    """Base of a gradient of a batch that keeps a state from step to step.

    `make_step` and `fit` take one as `gradient`, in place of the gradient of the mean
    loss. Subclass it with the configuration as fields. `init` makes the gradient's state,
    which `TrainState` carries and checkpoints save; the function that a call returns takes
    it and returns the next one. A gradient that remembers nothing needs no class: any
    function will do that is called `(loss, has_aux=True)` and returns a function that is
    called `(params, *batch, mask=mask, key=key)` and returns a `Clipped`, such as
    `functools.partial(fnn.per_example.clipped_gradient, max_norm=1.0)`.

    Example:
        >>> class Watched(fnn.training.PerExampleGradient):
        ...     '''Clip, and keep a running mean of the norms.'''
        ...
        ...     max_norm: float
        ...
        ...     def init(self, params):
        ...         return {"norm": jax.numpy.zeros(())}
        ...
        ...     def __call__(self, loss, *, has_aux):
        ...         clip = fnn.per_example.clipped_gradient(
        ...             loss, self.max_norm, has_aux=has_aux, normalize_by=4.0
        ...         )
        ...
        ...         def compute(gradient_state, params, *batch, mask=None, key=None):
        ...             result = clip(params, *batch, mask=mask)
        ...             norm = 0.9 * gradient_state["norm"] + 0.1 * result.norms.mean()
        ...             return result, {"norm": norm}
        ...
        ...         return compute
        >>> gradient, sgd = Watched(1.0), fnn.optimizers.SGD(0.1)
        >>> objective = fnn.supervised(fnn.Dense(1, bias=False), fnn.losses.squared_error)
        >>> step = fnn.make_step(objective, sgd, gradient=gradient)
        >>> train_state = fnn.TrainState.create(
        ...     {"kernel": jax.numpy.zeros((1, 1))},
        ...     {},
        ...     sgd,
        ...     key=jax.random.key(0),
        ...     gradient=gradient,
        ... )
        >>> batch = jax.numpy.ones((4, 1)), jax.numpy.ones((4, 1))
        >>> train_state, metrics = jax.jit(step)(train_state, batch)  # norms of 2
        >>> print(train_state.gradient_state["norm"])
        0.2
    """

    def init(self, params: Params) -> PyTree:
        """Return the state before the first step, a tree of arrays; by default `()`.

        Args:
            params: The parameters.
        """
        return ()

    def __call__(
        self, loss: Callable[..., Any], *, has_aux: bool
    ) -> Callable[..., tuple["Clipped", PyTree]]:
        """Return the function that computes the gradient of a batch.

        Args:
            loss: `loss(params, *example) -> (scalar, aux)`, of one example.
            has_aux: True, as the loss returns a pair.

        Returns:
            A function that is called
            `(gradient_state, params, *batch, mask=mask, key=key)`: with the state; the
            parameters; arrays with a leading axis of B examples; booleans, (B,), or
            `None`, which say which examples count; and a typed key that is used nowhere
            else. It returns a `fnn.per_example.Clipped` and the next state, of the same
            structure, shapes and dtypes.
        """
        raise TypeError(f"{type(self).__name__} does not define __call__")


AnyGradient: TypeAlias = PerExampleGradient | Callable[..., Callable[..., Any]]
"""The `gradient` of `make_step` and `fit`, with a state or without."""


def initial_gradient_state(gradient: AnyGradient, params: Params) -> PyTree:
    """Return the state of a gradient before the first step; `()` if it has none."""
    if not isinstance(gradient, PerExampleGradient):
        return ()
    # With a dtype, as a Python number has a weak one, and the step would compile twice.
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), gradient.init(params)
    )


def with_state(
    gradient: AnyGradient, loss: Callable[..., Any]
) -> Callable[..., tuple["Clipped", PyTree]]:
    """Return the function that `gradient` makes, with a state also where it has none."""
    if isinstance(gradient, PerExampleGradient):
        return gradient(loss, has_aux=True)
    compute = gradient(loss, has_aux=True)

    def computed(gradient_state: PyTree, *args: Any, **named: Any) -> Any:
        return compute(*args, **named), gradient_state

    return computed


def check_gradient_state(
    gradient: PerExampleGradient, params: Params, gradient_state: PyTree, hint: str
) -> None:
    """Raise unless a state of a gradient has the structure and dtypes of its `init`'s."""
    expected = jax.eval_shape(lambda p: initial_gradient_state(gradient, p), params)
    got = jax.eval_shape(lambda: gradient_state)
    structures: list[Any] = [jax.tree.structure(state) for state in (got, expected)]
    same = structures[0] == structures[1] and all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    )
    if not same:
        raise ValueError(
            f"gradient {show(gradient)} has a state like {checks.describe(expected)}, "
            f"as its init returns; got {checks.describe(got)}; {hint}"
        )
