"""Optimizers whose rule is written for one array, and the base that applies it to trees.

`Leafwise.update` does what all of them share: it takes the rate from the schedule, counts
the step, and moves every leaf by `rule`. A leaf is computed in the dtype of its statistics,
which is float32 for parameters of 16 bits: in these ε would be 0, and a slow average could
not move. Without statistics it is computed in the dtype of the gradient.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.optimizers.arithmetic import wide_zeros
from fnn.optimizers.base import LearningRate, Optimizer, check_learning_rate, needed
from fnn.platforms import traced_once
from fnn.schedules.base import rate_at
from fnn.types import Array, Params, PyTree
from fnn.values import fields_of, make


class RateState(NamedTuple):
    """The state of an optimizer without statistics.

    Number of steps taken, (), and the rate last used, ().
    """

    step: Array
    learning_rate: Array


class Now(NamedTuple):
    """The numbers of a step, and the parameters of a leaf, for its rule.

    All but t have the dtype in which the leaf is computed.
    """

    t: Array  # (), the number of this step, the first being 1
    rate: Array  # (), α
    minus_rate: Array  # (), -α, negated once for all leaves
    shared: Any  # what `Leafwise.shared` returned for this step
    w: Any = None  # the parameters, an array; `None` unless the optimizer reads them
    decays: bool = False  # whether the weights of this leaf decay; known when tracing


class Leafwise(Optimizer):
    """Base of an optimizer that moves every leaf by a `rule` written for one array.

    A subclass defines `rule`, and may have fields of its own besides `learning_rate`. If
    the rule keeps statistics, `State` is a named tuple of `step`, `learning_rate`, and one
    field for each of them. They start from 0, in float32 at least.

    A leaf of `fnn.Repeat`, which stacks the parameters of its layers, is moved one layer
    at a time: a rule may take the norm of what it gets. JAX traces the rule once for all
    leaves of one shape and dtype. Fields that are numbers may be arrays or tracers, so
    that a search can map over them.

    Args:
        learning_rate: α: a number, an array of shape (), or a schedule.

    Raises:
        ValueError: If the rate is negative or not one number.

    Example:
        >>> class Signs(fnn.optimizers.Leafwise):
        ...     def rule(self, g, now):
        ...         return -now.rate * jax.numpy.sign(g)
        >>> signs, grads = Signs(0.1), {"w": jax.numpy.array([4.0, -8.0])}
        >>> updates, state = signs.update(grads, signs.init(grads))
        >>> updates["w"], state.step
        (Array([-0.1,  0.1], dtype=float32), Array(1, dtype=int32))
    """

    learning_rate: LearningRate

    State: ClassVar[Any] = RateState
    reads_params: ClassVar[bool] = False
    """Whether `rule` needs `now.w` at every leaf."""

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)

    def rule(self, *arguments: Any, **_: Any) -> Any:
        """Return the update of one array, and its new statistics.

        Called `rule(g, *statistics, now)`. It finds the rate in `now`:
        `self.learning_rate`, which may be a schedule, is `None` there.

        Args:
            *arguments: `g`, the gradient of one array, or of one layer of a stack; then an
                array like `g` for each field of `State` after the first two; and last
                `now`, the numbers of this step, see `Now`.

        Returns:
            `(update, *statistics)`, arrays like `g`. The update is added to the parameters.
            Without statistics, the update alone will do.
        """
        raise TypeError(f"{type(self).__name__} does not define rule(g, *statistics, now)")

    def shared(self, t: Array) -> Any:
        """Return numbers of step `t` that all leaves share, for the rule as `now.shared`.

        They are computed once per step. None, unless a subclass overrides this.
        """
        return None

    def decays(self, params: Params | None) -> PyTree | None:
        """Return which leaves decay, a tree of booleans; `None` if no leaf ever does."""
        return None

    def init(self, params: Params) -> Any:
        step = jnp.zeros((), jnp.int32)
        statistics = [wide_zeros(params) for _ in self.State._fields[2:]]
        return self.State(step, rate_at(self.learning_rate, step), *statistics)

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        now = self.next(state)
        updates, statistics = self.by_leaf(grads, state[2:], now, params)
        return updates, self.State(now.t, now.rate, *statistics)

    def next(self, state: Any) -> Now:
        """Return the numbers of the step after a state."""
        t, rate = state.step + 1, rate_at(self.learning_rate, state.step)
        return Now(t, rate, -rate, self.shared(t))

    def by_leaf(
        self,
        grads: PyTree,
        statistics: Sequence[PyTree],
        now: Now | None = None,
        params: Params | None = None,
    ) -> tuple[PyTree, list[PyTree]]:
        """Apply the rule to every leaf.

        Args:
            grads: A tree of arrays. `None` may stand in the place of a leaf.
            statistics: Trees like the gradients, of wider dtypes where these have 16 bits.
            now: The numbers of this step, if the rule needs them.
            params: A tree like the gradients, if the rule needs them.

        Returns:
            The updates, in the dtypes of the gradients, and the new statistics.
        """
        leaves, structure = _flat(grads)
        unread = [None] * len(leaves)

        def column(like_grads: PyTree) -> list[Any]:
            return list(structure.flatten_up_to(like_grads))

        decaying = self.decays(params)
        decays = unread if decaying is None else column(decaying)
        weights = unread
        if self.reads_params or decaying is not None:
            weights = column(needed(params, type(self).__name__))
        layers = column(tree.stacked_axes(grads))
        rows = list(zip(*map(column, statistics), strict=True)) or [()] * len(leaves)
        t, *of_step = (None,) * 4 if now is None else now[:4]
        rule, arrays = _split(self)
        numbers: dict[Any, Any] = {}  # by dtype: converted once for all leaves of one dtype

        def moved(g: Array, own: Any, w: Any, decay: Any, stacked: int) -> tuple[Any, ...]:
            if g is None:
                return (None,) * (1 + len(own))
            dtype = own[0].dtype if own else g.dtype
            if dtype not in numbers:
                numbers[dtype] = _converted((of_step, arrays), dtype)
            w = w if decay or self.reads_params else None
            return _moved(rule, bool(decay), stacked, (t, numbers[dtype]), g, own, w)

        results = list(map(moved, leaves, rows, weights, decays, layers))
        updates, *new = (
            zip(*results, strict=True) if results else [()] * (1 + len(statistics))
        )
        return structure.unflatten(updates), [structure.unflatten(leaf) for leaf in new]


@traced_once(static=(0, 1, 2))
def _moved(
    rule: Leafwise,
    decays: bool,
    stacked: int,
    given: Any,
    g: Array,  # (*layers, *shape), with `stacked` axes of layers
    statistics: tuple[Array, ...],  # each like g
    w: Array | None,  # like g
) -> tuple[Array, ...]:
    """Return the update of one leaf and its new statistics."""
    t, ((rate, minus_rate, shared), arrays) = given
    dtype = statistics[0].dtype if statistics else g.dtype
    optimizer = make(type(rule), fields_of(rule) | arrays) if arrays else rule

    def of_layer(g: Any, w: Any, *statistics: Array) -> Any:
        return optimizer.rule(g, *statistics, Now(t, rate, minus_rate, shared, w, decays))

    for _ in range(stacked):  # one vmap per axis of layers: the rule sees (*shape,)
        of_layer = jax.vmap(of_layer)
    wide = None if w is None else w.astype(dtype)
    result = of_layer(g.astype(dtype), wide, *statistics)
    result = result if isinstance(result, tuple) else (result,)
    if len(result) != 1 + len(statistics):
        raise TypeError(
            f"{type(rule).__name__}.rule must return the update and {len(statistics)} "
            f"statistics, as its State has; it returned {len(result)} values"
        )
    if any(getattr(array, "shape", None) != g.shape for array in result):
        raise ValueError(
            f"{type(rule).__name__}.rule must return arrays like its gradient, "
            f"{checks.describe(g)}; it returned {checks.describe(result)}"
        )
    update, *new = result
    return (update.astype(g.dtype), *new)


def _flat(grads: PyTree) -> tuple[list[Any], Any]:
    """Return the leaves and the structure, in which `None` counts as a leaf."""
    return jax.tree.flatten(grads, is_leaf=lambda leaf: leaf is None)


def _split(optimizer: Leafwise) -> tuple[Leafwise, dict[str, Array]]:
    """Return the optimizer without its rate and without arrays, and the arrays by field.

    The first is an argument of `_moved` that must hash, which tracers don't. It is kept,
    because hashing takes long. Another rate leaves it as it is, so it compiles nothing.
    Optimizers in other fields, such as `Muon.others`, have no part in the rule.
    """
    if "_split" not in optimizer.__dict__:
        found: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for name, value in fields_of(optimizer).items():
            if isinstance(value, jax.Array | np.ndarray) and name != "learning_rate":
                found[name] = value
            optimizes = hasattr(value, "init") and hasattr(value, "update")
            apart = name == "learning_rate" or name in found or optimizes
            number = value.item() if isinstance(value, np.generic) else value
            plain[name] = None if apart else number
        optimizer._set(_split=(make(type(optimizer), plain), found))
    rule: Leafwise
    arrays: dict[str, Array]
    rule, arrays = optimizer.__dict__["_split"]
    return rule, arrays


def _converted(numbers: Any, dtype: Any) -> Any:
    """Return the numbers of a step in the dtype of a leaf."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), numbers)


def one_minus_power(decay: float | Array, t: Array) -> Array:
    """Return 1 - decayᵗ: the weights of t terms in a moving average that starts from 0."""
    t = t.astype(jnp.result_type(float))
    # By way of the logarithm, because float32 would lose digits of 1 - decay. That of a
    # Python float is taken in float64.
    if isinstance(decay, float) and decay > 0:
        log = jnp.asarray(math.log(decay), t.dtype)
    else:
        log = jnp.log(jnp.asarray(decay, t.dtype))
    return -jnp.expm1(t * log)


@jax.custom_jvp
def root(x: Array) -> Array:
    """Return √x, whose derivative at 0 is 0 here: updates can be differentiated."""
    return jnp.sqrt(x)


@root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (t,), y = tangents, root(*primals)
    positive = y > 0
    return y, jnp.where(positive, t / (2 * jnp.where(positive, y, 1)), 0)
