"""One step of training, as a pure function of a state and a batch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.base import Layer
from fnn.optimizers.base import (
    apply_updates,
    check_optimizer,
    frozen_mask,
    loss_scale,
    takes_extra,
    updated,
)
from fnn.sharding import Layout
from fnn.training.accumulation import Gradient, accumulated
from fnn.training.objective import check_callable, may_be_empty
from fnn.training.per_example_gradient import (
    AnyGradient,
    PerExampleGradient,
    check_gradient_state,
    initial_gradient_state,
)
from fnn.types import Array, GradientTransformation, Key, Params, PyTree, State
from fnn.values import Value, show

VALUE = "value of the objective"
"""The name under which a step keeps it among the metrics, for optimizers that use it."""


class TrainState(NamedTuple):
    """All that changes in training.

    Attributes:
        params: The parameters.
        state: The state of the model.
        opt_state: The state of the optimizer.
        key: A typed key, which never changes. The key of each step is made from it and
            from the number of the step.
        step: The number of steps since training began, int32.
        gradient_state: The state of a `fnn.training.PerExampleGradient`, if the step has
            one, else `()`.

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
    gradient_state: PyTree = ()

    @classmethod
    def create(
        cls,
        params: Params,
        state: State,
        optimizer: GradientTransformation,
        *,
        key: Key,
        gradient: AnyGradient | None = None,
    ) -> "TrainState":
        """Return the state before the first step.

        Args:
            params: The parameters.
            state: The state of the model.
            optimizer: The optimizer of the step.
            key: A typed key.
            gradient: The `gradient` of the step. It is needed only if it has a state.
        """
        checks.typed_key(key, "training")
        check_optimizer(optimizer, "TrainState.create")
        step = jnp.zeros((), jnp.int32)
        gradient_state = (
            () if gradient is None else initial_gradient_state(gradient, params)
        )
        return cls(params, state, optimizer.init(params), key, step, gradient_state)


class Step(Value):
    """One step of training; see `make_step`, which makes it.

    Example:
        >>> objective = fnn.supervised(fnn.Dense(2), fnn.losses.squared_error)
        >>> fnn.make_step(objective, fnn.optimizers.SGD(0.1)).optimizer
        fnn.optimizers.SGD(0.1)
    """

    objective: Callable[..., Any]
    optimizer: Any
    gradient: AnyGradient | None = None
    accumulate: int = 1
    layout: Layout | None = None

    def __call__(
        self, train_state: TrainState, batch: PyTree
    ) -> tuple[TrainState, dict[str, Array]]:
        """Return the state after one step, and the metrics of the batch before it."""
        if self.layout is None:
            return self._take(train_state, batch)
        with self.layout.tracing():
            train_state, metrics = self._take(train_state, batch)
            return self.layout.constrain(train_state, train_state.params), metrics

    def _take(
        self, train_state: TrainState, batch: PyTree
    ) -> tuple[TrainState, dict[str, Array]]:
        taken: Any = train_state
        if not isinstance(taken, tuple) or len(taken) not in (5, 6):
            raise TypeError(
                f"a step takes what TrainState.create makes and a batch, "
                f"got {checks.describe(train_state)}"
            )
        train_state = TrainState(*taken)
        params, state, opt_state, key, step, gradient_state = train_state
        frozen = frozen_mask(self.optimizer, params)
        informs = self.gradient is None and takes_extra(self.optimizer)
        gradient = self._gradient(loss_scale(self.optimizer, opt_state), frozen, informs)
        if isinstance(self.gradient, PerExampleGradient):
            hint = "give the gradient to TrainState.create(..., gradient=gradient) too"
            check_gradient_state(self.gradient, params, gradient_state, hint)
            gradient = functools.partial(gradient, gradient_state)
        if self.layout is not None:
            gradient = _gathering(gradient, self.layout)
        step_key = jax.random.fold_in(key, step)
        aux: Any
        grads, aux = gradient(params, state, batch, step_key)
        new, metrics, *following = aux
        if isinstance(self.gradient, PerExampleGradient):
            (gradient_state,) = following
            hint = "what it computes must return the next state beside a Clipped"
            check_gradient_state(self.gradient, params, gradient_state, hint)
        extra: dict[str, Any] = {}
        if informs:
            metrics = dict(metrics)
            extra = {"value": metrics.pop(VALUE), "grad": grads}
            extra["value_fn"] = self._value_of(state, batch, step_key)
        updates, opt_state = updated(self.optimizer, grads, opt_state, params, extra)
        params = apply_updates(params, updates)
        after = TrainState(params, new, opt_state, key, step + 1, gradient_state)
        # A private step is taken even with an empty batch: to skip it would reveal that.
        if self.gradient is None and may_be_empty(self.objective, batch):
            objective: Any = self.objective
            counts = objective.weight(batch) != 0
            after = _if(counts, after, train_state)
        return after, metrics

    def _value_of(self, state: State, batch: PyTree, key: Key) -> Callable[[Params], Array]:
        """Return the objective of a batch, as a function of the parameters."""

        def value(params: Params) -> Array:
            if self.layout is not None:
                params = self.layout.gather(params)
            return self.objective(params, state, batch, key)[0]

        return value

    def _gradient(self, scale: Array | None, frozen: PyTree, informs: bool) -> Gradient:
        """Return the function that computes the gradients for the optimizer.

        For a `PerExampleGradient` it takes the gradient's state first, and also returns it.
        """
        objective: Any = self.objective
        if self.gradient is not None:
            if scale is not None:
                raise ValueError(
                    "gradient can't be had with DynamicLossScale, which would scale the "
                    "gradients before they are clipped; compute in bfloat16, which needs "
                    "no scale"
                )
            if isinstance(self.gradient, PerExampleGradient):
                compute = objective.per_example_gradient_with_state
                return functools.partial(compute, _Moving(self.gradient, frozen))
            transform = _of_what_moves(self.gradient, frozen)
            return functools.partial(objective.per_example_gradient, transform)
        if informs:
            objective = _reporting(objective)
        if scale is not None:
            objective = _scaled(objective, scale)
        gradient: Gradient = jax.grad(_with_frozen(objective, frozen), has_aux=True)
        if self.accumulate == 1:
            return gradient
        return accumulated(gradient, self.accumulate, self.objective)


def make_step(
    objective: Callable[..., Any],
    optimizer: GradientTransformation,
    *,
    gradient: AnyGradient | None = None,
    accumulate: int = 1,
    layout: Layout | None = None,
) -> Step:
    """Make the pure function `(train_state, batch) -> (train_state, metrics)`.

    Args:
        objective: Called `(params, state, batch, key)`; returns
            `(objective, (state, metrics))`, as what `supervised` makes does.
        optimizer: fnn's or Optax's. The scale of a `DynamicLossScale` multiplies the
            objective. No gradient is computed for parameters that it never moves, as
            `frozen_mask` says. If its `update` takes Optax's extra arguments, it gets
            `value`, the objective, `grad`, its gradient, and `value_fn`, the objective as
            a function of the parameters; with `accumulate`, `value` is the mean over the
            microbatches, and `value_fn` computes the batch in one piece.
        gradient: A transform of the loss of one example, in place of the gradient of the
            mean loss, such as `functools.partial(fnn.per_example.clipped_gradient,
            max_norm=1.0, normalize_by=64)`. The objective must have a method
            `per_example_gradient`, as what `supervised` makes does; the weights of a
            batch are then booleans. The step also reports `"clipped"`, the share of the
            examples that were clipped, and `"gradient_norm"`, the mean norm before. Or a
            `fnn.training.PerExampleGradient`, which has a state: give it to
            `TrainState.create` too; the objective must then have a method
            `per_example_gradient_with_state`.
        accumulate: Number of microbatches into which a batch is split to save memory; they
            run one after the other. Gradients and metrics are still means over all
            examples, but layers that couple the examples, like `BatchNorm`, see one
            microbatch, and random ones have other keys. Microbatches weigh the same,
            unless the objective has a method `weight(batch)`, as what `supervised` makes
            does.
            Such a weight of 0 says that no example of a batch counts: then the step
            returns the state as it was, and NaN for means over the batch, unless there
            is a `gradient`. A microbatch of weight 0 counts nowhere. An objective whose
            method `may_be_empty(batch)` returns False saves the step this choice.
        layout: Where the new state belongs on a mesh of several devices; see
            `fnn.sharding`.

    Returns:
        A value; `jax.jit` it, or call it inside your own loop. Where nothing else needs
        the state before the step, `jax.jit(step, donate_argnums=0)` lets the new one take
        its memory. That deletes the arrays of the old one, and with them the parameters
        that `TrainState.create` was given: go on with `train_state.params`, and give
        `jax.tree.map(jax.numpy.copy, params)` if they must live on. No array may be in
        the state twice. If there are convolutions, `compiler_options()` has options for
        `jax.jit` that make them faster on the CPU.

    Raises:
        TypeError: If `optimizer` is not an optimizer, or the objective lacks the method
            that `gradient` needs.
            From the step, if it needs an extra argument that can't be given.
        ValueError: If `accumulate` is not a positive integer, or not 1 with a
            `gradient`; from the step, if it does not divide the number of examples.

    Example:
        >>> model, adam = fnn.Dense(1), fnn.optimizers.Adam(0.1)
        >>> x, y = jax.numpy.ones((4, 3)), jax.numpy.ones(4)
        >>> params, state = model.init(jax.random.key(0), x[0])
        >>> train_state = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
        >>> objective = fnn.supervised(model, fnn.losses.squared_error)
        >>> step = jax.jit(fnn.make_step(objective, adam), donate_argnums=0)
        >>> for _ in range(200):
        ...     train_state, metrics = step(train_state, (x, y))
        >>> print(f"{metrics['loss']:.4f}")
        0.0000
    """
    check_optimizer(optimizer, "make_step")
    if isinstance(objective, Layer) or not callable(objective):
        raise TypeError(
            f"make_step needs an objective, such as fnn.supervised(model, loss) makes; "
            f"got {show(objective)}"
        )
    if gradient is not None:
        check_callable(gradient, "gradient", "a loss, such as fnn.per_example makes")
        remembers = isinstance(gradient, PerExampleGradient)
        method = f"per_example_gradient{'_with_state' if remembers else ''}"
        if not hasattr(objective, method):
            raise TypeError(
                f"gradient needs an objective with a method {method}, such as "
                f"fnn.supervised makes; got {show(objective)}"
            )
    accumulate = checks.positive_integer("accumulate", accumulate)
    if gradient is not None and accumulate > 1:
        raise ValueError(
            f"accumulate={accumulate} can't be had with gradient, which splits batches "
            f"itself: give microbatch to fnn.per_example.clipped_gradient"
        )
    return Step(objective, optimizer, gradient, accumulate, layout)


def _if(counts: Array, after: TrainState, before: TrainState) -> TrainState:
    """Return the state after a step, or if no example counts, the state before it.

    XLA fuses the choice into the update of each array, which reads both anyway.
    """

    def chosen(new: Any, old: Any) -> Any:
        new = jnp.asarray(new)
        return new if new is old else jnp.where(counts, new, jnp.asarray(old, new.dtype))

    params, state, opt_state = jax.tree.map(chosen, after[:3], before[:3])
    step = chosen(after.step, before.step)
    return after._replace(params=params, state=state, opt_state=opt_state, step=step)


def _gathering(gradient: Gradient, layout: Layout) -> Gradient:
    """Return a gradient that gathers the parameters, and scatters what it computes."""

    def gathering(params: Params, *arguments: Any) -> tuple[PyTree, Any]:
        grads, aux = gradient(layout.gather(params), *arguments)
        return layout.scatter(grads, params), aux

    return gathering


def _with_frozen(function: Callable[..., Any], frozen: PyTree) -> Callable[..., Any]:
    """Return a function whose gradients to frozen parameters are 0, at no cost."""

    def with_frozen(params: Params, *arguments: Any) -> Any:
        params = jax.tree.map(
            lambda stop, leaf: jax.lax.stop_gradient(leaf) if stop else leaf, frozen, params
        )
        return function(params, *arguments)

    return with_frozen


def _of_what_moves(gradient: Callable[..., Any], frozen: PyTree) -> Callable[..., Any]:
    """Return the transform; frozen parameters have no part in the norms."""

    def transform(loss: Callable[..., Any], *, has_aux: bool) -> Any:
        return gradient(_with_frozen(loss, frozen), has_aux=has_aux)

    return transform


class _Moving(PerExampleGradient):
    """A gradient with a state, where frozen parameters have no part in the norms."""

    gradient: PerExampleGradient
    frozen: PyTree

    def init(self, params: Params) -> PyTree:
        return self.gradient.init(params)

    def __call__(self, loss: Callable[..., Any], *, has_aux: bool) -> Any:
        return self.gradient(_with_frozen(loss, self.frozen), has_aux=has_aux)


def _reporting(objective: Callable[..., Any]) -> Callable[..., Any]:
    """Return an objective that also reports its value among the metrics, as `VALUE`."""

    def reporting(*arguments: Any) -> tuple[Array, Any]:
        value, (state, metrics) = objective(*arguments)
        return value, (state, {**metrics, VALUE: value})

    return reporting


def _scaled(objective: Callable[..., Any], scale: Array) -> Callable[..., Any]:
    def scaled(*arguments: Any) -> tuple[Array, Any]:
        value, aux = objective(*arguments)
        return scale.astype(value.dtype) * value, aux

    return scaled
