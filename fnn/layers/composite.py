"""A layer that is made of other layers, and how its `compute` runs them."""

import dataclasses
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.base import Layer, as_layer, holds_layer, spec
from fnn.layers.running import apply_child, child_key, enter_child, in_one_program
from fnn.tree import STACK
from fnn.types import Key, Params, PyTree, State
from fnn.values import show

LayerLike: TypeAlias = Layer | Callable[[Any], Any]

PROTOCOL = {"init", "apply", "forward", "compute", "children", "draws", "kind"}
"""Names that a field of a composite can't have."""

RESERVED = {"key", "train"}
"""Names that `run` has for something else than a layer."""


class Composite(Layer):
    """Base of a layer that is made of other layers, which `compute` wires by hand.

    The layers are fields: a layer, or a tuple, list or dict of layers. `compute` is the
    whole definition; `init` and `apply` follow from it. It runs the layer in the field
    `down` by `run.down(x)`, and layer i of the tuple `blocks` by `run.blocks[i](x)`. Each
    layer has its parameters and state under its own name: `down`, `blocks_0`, `blocks_1`,
    and `heads_left` for the entry `"left"` of the dict `heads`.

    A layer that is run twice has one set of parameters; its state goes from one run to the
    next, and each run draws with another key. The same layer in two fields is two layers,
    with parameters each. A layer that is never run has no parameters.
    Parameters of your own are a small layer in a field. To run one layer outside of the
    composite, give it its part of the parameters: `model.down(params["down"], x)`.

    Raises:
        TypeError: If a class defines no `compute`, or a layer that is not a field; if an
            entry beside layers is neither a layer nor a callable.
        ValueError: If two layers would have one name, or a name is reserved: `key`,
            `train` and `stack`.

    Example:
        >>> class UNet(fnn.Composite):
        ...     down: fnn.Layer
        ...     middle: fnn.Layer
        ...     up: fnn.Layer
        ...
        ...     def compute(self, run, x):
        ...         h = run.down(x)
        ...         h = run.up(run.middle(h))
        ...         return jax.numpy.concatenate([x, h], axis=-1)
        >>> model = UNet(fnn.Dense(2), jax.nn.relu, fnn.Dense(3))
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones(4))
        >>> list(params), model(params, jax.numpy.ones(4)).shape
        (['down', 'up'], (7,))
    """

    def __init_subclass__(cls) -> None:
        for name in inspect.get_annotations(cls):
            if name in PROTOCOL:
                raise TypeError(
                    f"{cls.__name__} can't have a field {name!r}: fnn.Composite has a "
                    f"{name} of its own"
                )
        for name, value in vars(cls).items():
            if holds_layer(value) and name not in inspect.get_annotations(cls):
                raise TypeError(
                    f"{cls.__name__}.{name} is a layer without an annotation, which is not "
                    f"a field; write `{name}: fnn.Layer = ...`"
                )
        super().__init_subclass__()

    def __post_init__(self) -> None:
        _check_names(type(self).__name__, self._parts)

    def compute(self, run: "Run", x: PyTree) -> PyTree:
        """Compute the output for one example.

        Args:
            run: Runs the layers in the fields, `run.name(x)`. `run.train` tells training
                from inference, `run.key()` returns a key to draw with.
            x: One example.
        """
        raise TypeError(f"{type(self).__name__} defines no compute(self, run, x)")

    @functools.cached_property
    def _parts(self) -> dict[str, Any]:
        """A `Part` for each field that holds a layer, or a tuple or dict of them."""
        return {
            field.name: _parts_of(field.name, value, type(self).__name__)
            for field in dataclasses.fields(self)
            if holds_layer(value := getattr(self, field.name))
        }

    @functools.cached_property
    def children(self) -> dict[str, Layer]:
        """The layers by the names of their parameters."""
        return {part.name: part.layer for part in _flat(self._parts)}

    @in_one_program
    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        checks.typed_key(key, "init")
        with _plan() as plan:
            make = plan.record if plan.recording else plan.carry_out
            return make(self, key, spec(x))

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        run = Run(self, params, state, key, train)
        y = run._compute(x)
        return y, run._own_state()


def may_draw(composite: Composite, owner: type[Composite]) -> bool:
    """Return whether a composite may draw, if `owner.compute` draws with no key of its own.

    Its layers may draw, or a subclass that overrides `apply` or `compute`.
    """
    kind = type(composite)
    own = kind.apply is not owner.apply or kind.compute is not owner.compute
    return own or any(layer.draws for layer in composite.children.values())


class Part(NamedTuple):
    """A layer inside of a composite, and the name of its parameters."""

    name: str
    layer: Layer


class Run:
    """One run of a composite's `compute`, which runs the composite's layers by name.

    `run.name` is what runs the layer in the field `name`: a function of x. For a field
    with a tuple or a dict of layers it is a tuple or a dict of such functions.

    Attributes:
        train: Whether layers behave as in training.

    Raises:
        AttributeError: If the composite has no layer of a name.

    Example:
        >>> class Twice(fnn.Composite):
        ...     layer: fnn.Layer
        ...
        ...     def compute(self, run: fnn.layers.Run, x):
        ...         return run.layer(run.layer(x))
        >>> model = Twice(fnn.Dense(3))
        >>> params, _ = model.init(jax.random.key(0), jax.numpy.ones(3))
        >>> list(params)
        ['layer']
    """

    def __init__(
        self,
        composite: Composite,
        params: Params,
        state: State,
        key: Key | None,
        train: bool,
    ) -> None:
        self.train = train
        self._composite = composite
        self._params = params
        self._state = state
        self._key = key
        self._times: Counter[str] = Counter()  # how often each layer, or `key`, was run

    def key(self) -> Key:
        """Return a typed key, another one at each call.

        Raises:
            ValueError: If `apply` got no key.
        """
        if self._key is None:
            raise ValueError(f"{type(self._composite).__name__} needs a key in this mode")
        checks.typed_key(self._key, type(self._composite).__name__)
        self._times["key"] += 1
        # No layer has the empty name.
        return jax.random.fold_in(child_key(self._key, ""), self._times["key"])

    def __getattr__(self, name: str) -> Any:
        composite = self._composite
        if name in composite._parts:
            return _functions(composite._parts[name], self._run)
        owner = type(composite).__name__
        value = getattr(composite, name, None)
        if name in {field.name for field in dataclasses.fields(composite)}:
            if callable(value):  # an activation, say
                return _functions(Part(name, as_layer(value, name)), self._run)
            raise AttributeError(
                f"{owner} has {show(value)} in its field {name!r}, which is not a layer; "
                f"self.{name} reads it"
            )
        raise AttributeError(
            f"{owner} has no layer {name!r}; it has {', '.join(composite._parts) or 'none'}"
        )

    def _run(self, part: Part, x: PyTree) -> PyTree:
        """Apply one layer, on the state that its last run left."""
        key, times = self._key, self._times[part.name]
        self._times[part.name] += 1
        if key is not None and times and part.layer.draws:
            key = jax.random.fold_in(key, times)
        try:
            y, new = apply_child(
                part.name,
                part.layer,
                self._params,
                self._state,
                x,
                key=key,
                train=self.train,
            )
        except Exception as error:
            if self.train and part.name not in {*self._params, *self._state}:
                error.add_note(
                    f"{part.name!r} has no parameters, because `init` runs `compute` with "
                    f"train=False; run the layer in both modes, and leave its output out: "
                    f"what is not used is not computed"
                )
            raise
        if new:
            self._state = {**self._state, **new}
        return y

    def _compute(self, x: PyTree) -> PyTree:
        try:
            return self._composite.compute(self, x)
        except TypeError as error:
            if "Layer.__call__() missing" in str(error):
                error.add_note(
                    "inside compute, run.name(x) runs the layer in the field `name`; "
                    "self.name(params, x) needs its parameters"
                )
            raise

    def _own_state(self) -> State:
        """Return the state of the composite's layers, as `apply` gives it back."""
        names = self._composite.children
        return {name: self._state[name] for name in names if name in self._state}


class _Recording(Run):
    """A run that initializes each layer when it is first run, and notes its input."""

    def __init__(self, composite: Composite, key: Key) -> None:
        super().__init__(composite, {}, {}, key, train=False)
        self._init_key = key
        self.inputs: dict[str, tuple[Part, PyTree]] = {}
        self.initializing = False

    def _run(self, part: Part, x: PyTree) -> PyTree:
        if part.name not in self.inputs:
            self.inputs[part.name] = part, spec(x)
            held = self._params, self._state
            self.initializing = True
            enter_child(part.name, part.layer, self._init_key, spec(x), *held)
            self.initializing = False
        if isinstance(self._init_key, jax.core.Tracer):
            return super()._run(part, x)
        # Where `init` can't be traced, the layers are evaluated abstractly all the same.
        state = self._state
        y = jax.eval_shape(functools.partial(super()._run, part), spec(x))
        self._state = state
        return jax.tree.map(_zeros, y)


class _Plan:
    """The layers that each composite in a model runs, and the specs of their inputs.

    A composite's `init` needs them before it makes parameters, but they are known only
    once the composite has run on parameters. So the outermost `init` evaluates the whole
    model abstractly first, where inner composites record theirs in passing. Then it makes
    the parameters. Otherwise each level of nesting would evaluate all below it again.
    """

    def __init__(self) -> None:
        self.recording = False
        self._computed = True
        # By a composite's identity, which holding on to the composite keeps its own.
        self._runs: dict[Any, tuple[Composite, list[tuple[Part, PyTree]]]] = {}

    def record(self, composite: Composite, key: Key, x: PyTree) -> tuple[Params, State]:
        """Run a composite, each layer from when it is initialized; return what it holds."""
        run = _Recording(composite, key)
        try:
            run._compute(jax.tree.map(_zeros, x))
        except Exception:
            # An error of `compute` itself; that of an `init` in it may be of tracing alone.
            self._computed = self._computed and run.initializing
            raise
        self._runs[_case(composite, x)] = composite, list(run.inputs.values())
        return run._params, run._state

    def carry_out(self, composite: Composite, key: Key, x: PyTree) -> tuple[Params, State]:
        """Initialize each layer that a composite runs, once."""
        case = _case(composite, x)
        if case not in self._runs:
            self.recording = True
            try:
                jax.eval_shape(lambda key: self.record(composite, key, x), key)
            except (TypeError, IndexError):  # the errors of tracing are of these kinds
                if isinstance(key, jax.core.Tracer) or not self._computed:
                    raise
                # An `init` that can't be traced runs as it is written.
                return self.record(composite, key, x)
            finally:
                self.recording = False
        params: Params = {}
        state: State = {}
        for part, x_of_part in self._runs[case][1]:
            enter_child(part.name, part.layer, key, x_of_part, params, state)
        return params, state


_PLAN: ContextVar[_Plan | None] = ContextVar("plan", default=None)


@contextmanager
def _plan() -> Iterator[_Plan]:
    """Give the plan of the `init` around this one, or a new one."""
    if (plan := _PLAN.get()) is not None:
        yield plan
        return
    token = _PLAN.set(plan := _Plan())
    try:
        yield plan
    finally:
        _PLAN.reset(token)


def _case(composite: Composite, x: PyTree) -> Any:
    leaves, structure = jax.tree.flatten(x)
    return id(composite), structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _zeros(leaf: jax.ShapeDtypeStruct) -> Any:
    return jnp.zeros(leaf.shape, leaf.dtype)


def _parts_of(name: str, value: Any, owner: str) -> Any:
    """Return a `Part` for each layer in a field, in tuples and dicts as in the field."""
    if isinstance(value, dict):
        return {key: _parts_of(f"{name}_{key}", value[key], owner) for key in value}
    if isinstance(value, tuple | list):
        each = enumerate(value)
        return tuple(_parts_of(f"{name}_{i}", layer, owner) for i, layer in each)
    return Part(name, as_layer(value, f"layer {name!r} of {owner}"))


def _flat(parts: Any) -> Iterator[Part]:
    """Yield the parts in nested tuples and dicts."""
    if isinstance(parts, Part):
        yield parts
    else:
        for part in parts.values() if isinstance(parts, dict) else parts:
            yield from _flat(part)


def _functions(parts: Any, run: Callable[[Part, PyTree], PyTree]) -> Any:
    """Return a function of x for each part, in tuples and dicts as the parts."""
    if isinstance(parts, Part):
        return functools.partial(run, parts)
    if isinstance(parts, dict):
        return {name: _functions(part, run) for name, part in parts.items()}
    return tuple(_functions(part, run) for part in parts)


def _check_names(owner: str, parts: dict[str, Any]) -> None:
    """Raise unless every layer can have its name."""
    for name in RESERVED & parts.keys():
        raise ValueError(f"{owner} can't name a layer {name!r}: run.{name} has a meaning")
    times = Counter(part.name for part in _flat(parts))
    check_not_reserved(owner, times)
    for name, count in times.items():
        if count > 1:
            raise ValueError(f"{owner} has {count} layers of the name {name!r}")
        if "/" in name:
            raise ValueError(f"{owner} has a layer {name!r}; a name can't contain '/'")


def check_not_reserved(owner: str, names: Iterable[str]) -> None:
    """Raise if a layer is to have the name under which `Repeat` stacks parameters."""
    if STACK in names:
        raise ValueError(
            f"{owner} can't name a layer {STACK!r}: the name is reserved for the "
            f"stacked parameters of fnn.Repeat"
        )
