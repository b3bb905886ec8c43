"""How a combinator initializes and runs the layers that it holds.

Each layer has its own part of parameters, state and key, by its name. An error says from
which layer it came, and an observer sees each layer that is run.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import jax

from fnn import checks, explaining
from fnn.layers.base import Function, Layer, NoState, show_layer, spec
from fnn.platforms import compiled, options_for_one_run
from fnn.tree import STACK
from fnn.types import Key, Params, PyTree, State
from fnn.values import Value

Init = TypeVar("Init", bound=Callable[..., Any])
SAID = ("in layer ", "in the model, ")
"""How a note begins that says from which layer an error came."""

_PATH: ContextVar[tuple[str, ...]] = ContextVar("path", default=())
_OBSERVER: ContextVar[Callable[..., Any] | None] = ContextVar("observer", default=None)


def init_child(
    name: str, layer: Layer, key: Key, x: PyTree, params: Params, state: State
) -> PyTree:
    """Initialize one layer of a combinator and return the spec of its output.

    What the layer holds is entered under `name` into `params` and `state`; a layer that
    holds nothing gets no entry. Its key depends on `key` and `name` alone, so layers
    without parameters come and go without changing the others' initial values.
    """
    enter_child(name, layer, key, x, params, state)
    return jax.eval_shape(
        lambda p, s, x: apply_child(name, layer, p, s, x, key=None, train=False)[0],
        params,
        state,
        x,
    )


def enter_child(
    name: str, layer: Layer, key: Key, x: PyTree, params: Params, state: State
) -> None:
    """Initialize one layer of a combinator, as `init_child` does, but don't run it."""
    checks.typed_key(key, "init")
    with located(name, layer, x, init=True):
        own_params, own_state = initial(layer, child_key(key, name), x)
    if own_params:
        params[name] = own_params
    if own_state:
        state[name] = own_state


def in_one_program(init: Init) -> Init:
    """Let the `init` of a combinator be one program where it is called outside of `jit`.

    Otherwise each operation on each shape is a program of its own. Inside a trace, for a
    layer that can't be hashed, and where `init` can't be traced, it runs as it is written.
    What it makes depends on nothing but the layer, the key and the spec of x.
    """

    @functools.wraps(init)
    def call(layer: Layer, key: Key, x: PyTree) -> tuple[Params, State]:
        if not checks.is_key(key) or _is_traced(key, x) or not _is_hashable(layer):
            return init(layer, key, x)
        leaves, structure = jax.tree.flatten(x)
        try:
            made: tuple[Params, State] = _compiled_init(
                init, _Exactly(layer), structure, tuple(spec(leaves)), key
            )
        except (TypeError, IndexError):
            # The errors of tracing are of these kinds.
            return init(layer, key, x)
        return made

    return cast("Init", call)


def _is_hashable(layer: Layer) -> bool:
    try:
        hash(layer)
    except TypeError:
        return False
    return True


def _is_traced(key: Key, x: PyTree) -> bool:
    """Return whether this is inside a trace, of which the key may be a constant."""
    leaves = jax.random.key_data(key), *jax.tree.leaves(x)
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


class _Exactly:
    """A layer that equals another only if all types do: 1 and 1.0 make two programs."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __hash__(self) -> int:
        return hash(self.layer)

    def __eq__(self, other: Any) -> bool:
        a, b = self.layer, other.layer
        return a is b or (a == b and _types(a) == _types(b))


def _types(value: Any) -> Any:
    if isinstance(value, Value):
        fields = dataclasses.fields(value)
        return type(value), [_types(getattr(value, field.name)) for field in fields]
    if isinstance(value, functools.partial):
        return type(value), _types((value.func, value.args, value.keywords))
    if isinstance(value, Mapping):
        return type(value), [_types(item) for item in value.items()]
    if isinstance(value, tuple | list):
        return type(value), [_types(item) for item in value]
    return type(value)


@functools.partial(compiled, options=options_for_one_run, static_argnums=(0, 1, 2, 3))
def _compiled_init(
    init: Callable[..., Any],
    layer: _Exactly,
    structure: Any,
    specs: tuple[jax.ShapeDtypeStruct, ...],
    key: Key,
) -> tuple[Params, State]:
    made: tuple[Params, State] = init(
        layer.layer, key, jax.tree.unflatten(structure, specs)
    )
    return made


def apply_child(
    name: str,
    layer: Layer,
    params: Params,
    state: State,
    x: PyTree,
    *,
    key: Key | None,
    train: bool,
) -> tuple[PyTree, State]:
    """Apply one layer of a combinator to its own part of parameters, state and key.

    Returns:
        The output, and the layer's new state under its name: `{name: state}`, or `{}`.
    """
    with located(name, layer, x, params, state):
        own_params = _entry("params", params, name)
        own_state = _entry("state", state, name)
        own_key = child_key(key, name) if key is not None and layer.draws else None
        y, new = applied(layer, own_params, own_state, x, key=own_key, train=train)
        if observe := _OBSERVER.get():
            seen = observe(_PATH.get(), layer, own_params, own_state, x, y)
            y = y if seen is None else seen
    return y, {name: new} if new else {}


@contextmanager
def observing(callback: Callable[..., Any]) -> Iterator[None]:
    """Call `callback(path, layer, params, state, x, y)` after each layer that is run.

    What the callback returns, unless that is `None`, takes the place of y.
    """
    token = _OBSERVER.set(callback)
    try:
        yield
    finally:
        _OBSERVER.reset(token)


def observed(
    callback: Callable[..., Any], model: Layer, params: Params, state: State, x: PyTree
) -> PyTree:
    """Return the spec of a model's output; `callback` sees each layer as in `observing`."""
    with observing(callback):
        # A function that is new, as JAX doesn't trace one again that it knows.
        return jax.eval_shape(lambda *args: model.apply(*args)[0], params, state, x)


@contextmanager
def located(
    name: str | None,
    layer: Layer,
    x: PyTree,
    params: Any = None,
    state: Any = None,
    *,
    init: bool = False,
) -> Iterator[None]:
    """Add to an exception from inside which layer it came from, and what it met.

    What Python, NumPy or JAX say of a layer is put into words of fnn's where it can be.

    Args:
        name: Under which a combinator holds the layer; `None` for what has no name of its
            own, as the whole model.
        layer: The layer.
        x: What it is given.
        params: What holds its parameters under the name, or these themselves.
        state: What holds its state, likewise.
        init: Whether `init` runs, not `apply`.
    """
    path = _PATH.get() if name is None else (*_PATH.get(), name)
    token = _PATH.set(path)
    try:
        yield
    except Exception as error:
        # The innermost layer has said it already.
        if any(note.startswith(SAID) for note in getattr(error, "__notes__", ())):
            raise
        call = _call(layer, init=init)
        own = (params, state) if name is None else (_part(params, name), _part(state, name))
        clear = explaining.explained(error, call, x, *own)
        where = f"in layer {'/'.join(path)!r}" if path else "in the model"
        clear.add_note(f"{where}, {show_layer(layer)}, given x: {checks.describe(x)}")
        if clear is error:
            raise
        raise clear from error
    finally:
        _PATH.reset(token)


def _call(layer: Layer, *, init: bool) -> explaining.Call:
    """Return what is called of a layer, for an error."""
    kind = type(layer)
    if isinstance(layer, Function):
        return explaining.Call(layer.function, f"{show_layer(layer)}, as a layer,", ("x",))
    if init:
        return explaining.Call(kind.init, f"init of {kind.__name__}", ("self", "key", "x"))
    if kind.apply is Layer.apply:
        return explaining.Call(
            kind.forward, f"forward of {kind.__name__}", ("self", "params", "x")
        )
    arguments = ("self", "params", "state", "x")
    return explaining.Call(
        kind.apply, f"apply of {kind.__name__}", arguments, ("key", "train")
    )


def initial(layer: Layer, key: Key, x: PyTree) -> tuple[Params, State]:
    """Return what `init` of a layer makes, or raise unless it is a pair of dicts."""
    return explaining.initial(type(layer).__name__, layer.init(key, x))


def applied(
    layer: Layer, params: Params, state: State, x: PyTree, *, key: Key | None, train: bool
) -> tuple[PyTree, State]:
    """Return what `apply` of a layer gives, or raise unless it is an output and a state."""
    made: Any = layer.apply(params, state, x, key=key, train=train)
    if isinstance(made, tuple) and len(made) == 2 and made[0] is not None:
        return made
    raise explaining.not_applied(type(layer).__name__, show_layer(layer), made)


def _part(tree: Any, name: str) -> Any:
    return tree.get(name, {}) if isinstance(tree, Mapping) else tree


def _entry(what: str, tree: Any, name: str) -> Any:
    if not isinstance(tree, Mapping):
        raise explaining.not_a_dict(what, tree)
    return tree if isinstance(tree, NoState) else tree.get(name, {})


def child_key(key: Key, name: str) -> Key:
    """Return the key of the layer of this name."""
    # The stack of `Repeat` was called `layer` once; its seeds give the same values still.
    name = "layer" if name == STACK else name
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
