"""The protocol of an optimizer, and what is asked of any of them."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn.descriptions import describe
from fnn.schedules.base import Rate
from fnn.types import Array, GradientTransformation, Params, PyTree, as_dtype
from fnn.values import Value, show

LearningRate: TypeAlias = Rate

EVERY = "**"
SCALE_INSIDE = (
    "DynamicLossScale must be the outermost optimizer, because others need gradients that "
    "are divided by the scale: DynamicLossScale(Chain(...))"
)


class DynamicLossScaleState(NamedTuple):
    """The state of `DynamicLossScale`, and that of its optimizer.

    The scale of the next loss, (), the number of steps since it last changed, (), and the
    number of steps that were skipped, ().
    """

    loss_scale: Array
    unchanged: Array
    skipped: Array
    optimizer: Any


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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "update" in vars(cls):
            own: Any = cls
            own.update = _explaining(own.update)

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

    def frozen(self, params: PyTree) -> PyTree:
        """Return which leaves are never moved: none, unless a subclass overrides this."""
        return jax.tree.map(lambda _: False, params)

    def takes_extra(self) -> bool:
        """Return whether `update` takes Optax's extra arguments, as its signature says."""
        return bool(_extra_names(self.update))

    def learning_rates(self, state: Any, params: PyTree) -> PyTree:
        """Return the rate that the last update of each leaf used, () or `None`.

        It is the field `learning_rate` of the state, unless a subclass overrides this.
        """
        rate = getattr(state, "learning_rate", None)
        return jax.tree.map(lambda _: rate, params)

    def named_rates(self, state: Any) -> dict[str, Array]:
        """Return the rates in use by the names of what uses them, `""` for a single one."""
        rate = getattr(state, "learning_rate", None)
        return {} if rate is None else {"": rate}

    def inner(self, state: Any) -> Iterable[tuple[GradientTransformation, Any]]:
        """Return the optimizers that this one runs, and their states.

        None, unless a subclass overrides this.
        """
        return ()

    def loss_scale(self, state: Any) -> Array | None:
        """Return the factor of the next objective, (), or `None` for a factor of 1.

        `DynamicLossScale` has one.

        Raises:
            ValueError: If an optimizer inside of this one has one: it would divide
                gradients that this one has changed.
        """
        if any(
            loss_scale(optimizer, own) is not None for optimizer, own in self.inner(state)
        ):
            raise ValueError(SCALE_INSIDE)
        return None

    def skipped(self, state: Any) -> Array | None:
        """Return the number of steps that were skipped, (), or `None` if none ever is."""
        counts = [skipped(optimizer, own) for optimizer, own in self.inner(state)]
        return next((count for count in counts if count is not None), None)


class Wrapping(Optimizer):
    """Base of an optimizer that runs one other, and answers what is asked of it by that."""

    optimizer: GradientTransformation

    def own(self, state: Any) -> Any:
        """Return the state of the other optimizer."""
        return state.optimizer

    def inner(self, state: Any) -> Iterable[tuple[GradientTransformation, Any]]:
        return ((self.optimizer, self.own(state)),)

    def frozen(self, params: PyTree) -> PyTree:
        return frozen_mask(self.optimizer, params)

    def takes_extra(self) -> bool:
        return takes_extra(self.optimizer)

    def learning_rates(self, state: Any, params: PyTree) -> PyTree:
        return learning_rates(self.optimizer, self.own(state), params)

    def named_rates(self, state: Any) -> dict[str, Array]:
        return named_rates(self.optimizer, self.own(state))


def _explaining(update: Callable[..., Any]) -> Callable[..., Any]:
    """Let an `update` that fails say so if it was given a state that is not its own."""

    @functools.wraps(update)
    def explaining(
        self: Optimizer,
        grads: PyTree,
        state: Any,
        params: Params | None = None,
        **extra: Any,
    ) -> tuple[PyTree, Any]:
        try:
            updates: tuple[PyTree, Any] = update(self, grads, state, params, **extra)
        except (AttributeError, TypeError, ValueError) as error:
            message = _not_its_own(self, state, grads if params is None else params)
            if message is None:
                raise
            raise TypeError(message) from error
        return updates

    return explaining


def _not_its_own(optimizer: Optimizer, state: Any, params: Params) -> str | None:
    """Return what is wrong with a state that `init` does not make, else None."""
    try:
        own = jax.eval_shape(optimizer.init, params)
    except Exception:  # of what is wrong with the parameters, `update` says more
        return None
    alike = type(state) is type(own) and (
        not isinstance(own, tuple) or len(state) == len(own)
    )
    if alike:
        return None
    return (
        f"update of {show(optimizer)} got a state that is not its own, "
        f"{describe(state)}; give what init(params) made, or the update before"
    )


def apply_updates(params: Params, updates: PyTree) -> Params:
    """Return params + updates; every parameter keeps its dtype.

    Where `None` stands in the place of an update, the parameter stays as it is.

    Example:
        >>> apply_updates({"w": jax.numpy.ones(1)}, {"w": -jax.numpy.ones(1)})
        {'w': Array([0.], dtype=float32)}
    """
    return jax.tree.map(
        lambda p, u: p if u is None else as_dtype(p + u, p.dtype), params, updates
    )


def current_learning_rate(opt_state: Any) -> Array | None:
    """Return the rate that the last update used, read from an optimizer's state.

    Before the first update it is the rate that the first will use. A state without a rate
    gives `None`; of `Muon`, its own rate counts and not that of its `others`.

    Raises:
        ValueError: If the state has several rates, as that of `ByPath` can; ask
            `learning_rates` then, which tells them by leaf.

    Example:
        >>> adam = fnn.optimizers.Adam(1e-3)
        >>> current_learning_rate(adam.init({"w": jax.numpy.ones(1)}))
        Array(0.001, dtype=float32)
    """
    rates = [
        (path, rate)
        for path, rate in _rates_in(opt_state)
        if not any(getattr(entry, "name", None) == "others" for entry in path)
    ]
    if len(rates) > 1:
        paths = [jax.tree_util.keystr(path) for path, _ in rates]
        raise ValueError(
            f"the optimizer's state has {len(rates)} learning rates, at {paths}; "
            f"fnn.optimizers.learning_rates(optimizer, opt_state, params) has that of "
            f"each parameter"
        )
    return rates[0][1] if rates else None


def learning_rates(
    optimizer: GradientTransformation, opt_state: Any, params: PyTree
) -> PyTree:
    """Return a tree of the rates, (), that the last update of each leaf used.

    Before the first update they are those that the first will use. `None` stands where a
    leaf has no rate: it is frozen, or the rate can't be known, because the optimizer is
    not fnn's and its state has not one field `learning_rate`.

    Args:
        optimizer: fnn's or Optax's.
        opt_state: Its state.
        params: Parameters, or anything with their structure.

    Example:
        >>> fast, slow = fnn.optimizers.SGD(0.1), fnn.optimizers.SGD(0.001)
        >>> optimizer = fnn.optimizers.ByPath({"head/*": fast, "*": slow})
        >>> params = {"body": {"w": jax.numpy.ones(1)}, "head": {"w": jax.numpy.ones(1)}}
        >>> opt_state = optimizer.init(params)
        >>> rates = fnn.optimizers.learning_rates(optimizer, opt_state, params)
        >>> print(rates["body"]["w"], rates["head"]["w"])
        0.001 0.1
    """
    if isinstance(optimizer, Optimizer):
        return optimizer.learning_rates(opt_state, params)
    rate = named_rates(optimizer, opt_state).get("")
    return jax.tree.map(lambda _: rate, params)


def named_rates(optimizer: GradientTransformation, opt_state: Any) -> dict[str, Array]:
    """Return the rates in use by name, of an optimizer of fnn's or another."""
    if isinstance(optimizer, Optimizer):
        return optimizer.named_rates(opt_state)
    rates = _rates_in(opt_state)
    return {"": rates[0][1]} if len(rates) == 1 else {}


def current_loss_scale(opt_state: Any) -> Array | None:
    """Return the factor of the next objective, (), read from `DynamicLossScale`'s state.

    A state of any other optimizer gives `None`.

    Raises:
        ValueError: If `DynamicLossScale` is inside of another optimizer, which would get
            gradients that are not divided by the scale.

    Example:
        >>> sgd = fnn.optimizers.SGD(0.1)
        >>> optimizer = fnn.optimizers.DynamicLossScale(sgd, initial=1024.0)
        >>> current_loss_scale(optimizer.init({"w": jax.numpy.ones(1)}))
        Array(1024., dtype=float32)
    """
    scaled = isinstance(opt_state, DynamicLossScaleState)
    if _scaled_states(opt_state.optimizer if scaled else opt_state):
        raise ValueError(SCALE_INSIDE)
    return opt_state.loss_scale if scaled else None


def skipped_steps(opt_state: Any) -> Array | None:
    """Return the number of steps that `DynamicLossScale` has skipped, from its state.

    A state of any other optimizer gives `None`.

    Example:
        >>> optimizer = fnn.optimizers.DynamicLossScale(fnn.optimizers.SGD(0.1))
        >>> params = {"w": jax.numpy.ones(1)}
        >>> overflow = {"w": jax.numpy.array([jax.numpy.inf])}
        >>> _, opt_state = optimizer.update(overflow, optimizer.init(params))
        >>> skipped_steps(opt_state)
        Array(1, dtype=int32)
    """
    states = _scaled_states(opt_state)
    return states[-1].skipped if states else None


def loss_scale(optimizer: GradientTransformation, opt_state: Any) -> Array | None:
    """Return the factor of the next objective that an optimizer, fnn's or not, asks for."""
    if isinstance(optimizer, Optimizer):
        return optimizer.loss_scale(opt_state)
    return current_loss_scale(opt_state)  # Optax's may run a `DynamicLossScale`


def skipped(optimizer: GradientTransformation, opt_state: Any) -> Array | None:
    """Return the number of steps that an optimizer, fnn's or not, has skipped."""
    if isinstance(optimizer, Optimizer):
        return optimizer.skipped(opt_state)
    return skipped_steps(opt_state)


def _scaled_states(opt_state: Any) -> list[DynamicLossScaleState]:
    """Return the states of `DynamicLossScale` in an optimizer's state."""

    def scaled(node: Any) -> bool:
        return isinstance(node, DynamicLossScaleState)

    return [node for node in jax.tree.leaves(opt_state, is_leaf=scaled) if scaled(node)]


def _rates_in(opt_state: Any) -> list[tuple[Any, Array]]:
    """Return the fields `learning_rate` in any optimizer's state, with their paths."""
    return [
        (path, leaf)
        for path, leaf in jax.tree.leaves_with_path(opt_state)
        if path and getattr(path[-1], "name", None) == "learning_rate"
    ]


def frozen_mask(optimizer: GradientTransformation, params: PyTree) -> PyTree:
    """Return a tree of booleans: whether the optimizer never moves the leaf.

    True for what `ByPath` gives to `Frozen`, false for all leaves of an optimizer that is
    not fnn's. Whoever computes gradients can do without those of frozen leaves: `ByPath`,
    `Chain` and the like take `None` in their place, and return it as the update.

    Args:
        optimizer: fnn's or Optax's.
        params: Parameters, or anything with their structure.

    Example:
        >>> adam, frozen = fnn.optimizers.Adam(1e-3), fnn.optimizers.Frozen()
        >>> optimizer = fnn.optimizers.ByPath({"head/*": adam, "*": frozen})
        >>> params = {"body": {"bias": 0.0}, "head": {"bias": 0.0}}
        >>> fnn.optimizers.frozen_mask(optimizer, params)
        {'body': {'bias': True}, 'head': {'bias': False}}
    """
    if isinstance(optimizer, Optimizer):
        return optimizer.frozen(params)
    return jax.tree.map(lambda _: False, params)


def takes_extra(optimizer: GradientTransformation) -> bool:
    """Return whether an optimizer, fnn's or another, takes Optax's extra arguments."""
    if isinstance(optimizer, Optimizer):
        return optimizer.takes_extra()
    return bool(_extra_names(optimizer.update))


def updated(
    optimizer: GradientTransformation,
    grads: PyTree,
    state: Any,
    params: Params | None,
    extra: Mapping[str, Any],
) -> tuple[PyTree, Any]:
    """Return what `update` returns, called with the extra arguments if it takes them.

    Args:
        optimizer: fnn's or Optax's.
        grads: Gradients.
        state: The optimizer's state.
        params: Parameters.
        extra: Any of `value`, the objective, `grad`, its gradient, and `value_fn`, the
            objective as a function of the parameters, those that are known.

    Raises:
        TypeError: If the optimizer needs an argument that is not known.
    """
    known: Mapping[str, Any] = {}
    if extra and takes_extra(optimizer):
        names = _extra_names(optimizer.update)
        known = {k: v for k, v in extra.items() if k in names or EVERY in names}
    try:
        return optimizer.update(grads, state, params, **known)
    except TypeError as error:
        if "required keyword-only argument" not in str(error):
            raise
        needs = ", ".join(re.findall(r"'(\w+)'", str(error)))
        raise TypeError(
            f"{show(optimizer)} needs {needs}, which its update did not get. "
            f"fnn.make_step, and so fnn.fit, gives value, grad and value_fn of the "
            f"objective, and none of them with gradient=, which keeps them private; in a "
            f"loop of your own call update(grads, state, params, value=..., ...)"
        ) from error


def _extra_names(update: Callable[..., Any]) -> set[str]:
    """Return the arguments that can only be given by name, `EVERY` for `**extra`."""
    try:
        parameters = inspect.signature(update).parameters.values()
    except ValueError:  # of a function that is not written in Python
        return set()
    every = {EVERY for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD}
    return every | {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


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


def needed(params: Params | None, owner: str) -> Params:
    """Return the parameters, or raise where `update` was called without them."""
    if params is None:
        raise ValueError(f"{owner} needs the parameters: call update(grads, state, params)")
    return params
