"""The protocol of a layer, and how a combinator runs the layers that it holds."""

import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar, cast

import jax
import jax.numpy as jnp

from fnn import checks, explaining
from fnn.platforms import compiled, options_for_one_run
from fnn.tree import STACK
from fnn.types import Key, Params, PyTree, State
from fnn.values import Value, show

Init = TypeVar("Init", bound=Callable[..., Any])
SAID = ("in layer ", "in the model, ")
"""How a note begins that says from which layer an error came."""


def _snake_case(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower()


class Layer(Value):
    """Base of every layer: a value with pure functions `init` and `apply`.

    A layer without state or randomness overrides `forward`, one with either overrides
    `apply`; one with parameters overrides `init`. A subclass declares its
    configuration as the fields of a dataclass, which it becomes (frozen). All of them
    take *one* example; `fnn.batched` maps a layer over a leading batch axis.

    Example:
        >>> class Scale(fnn.Layer):
        ...     start: float = 1.0
        ...
        ...     def init(self, key, x):
        ...         return {"scale": jax.numpy.full(x.shape, self.start)}, {}
        ...
        ...     def forward(self, params, x):
        ...         return params["scale"] * x
        >>> model = fnn.Sequential(Scale(2.0), jax.nn.relu)
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones(3))
        >>> model(params, jax.numpy.array([-1.0, 0.0, 1.0]))
        Array([0., 0., 2.], dtype=float32)
    """

    kind: ClassVar[str]
    """The name under which a combinator counts the layer, `"dense"` for `Dense`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in cls.__dict__:
            cls.kind = _snake_case(cls.__name__)
        if "draws" not in vars(cls) and {"apply", "compute"} & vars(cls).keys():
            cls.draws = Layer.draws  # type: ignore[method-assign]

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        """Make parameters and state; none of either, unless a layer overrides this.

        It must be pure: what it makes depends on the layer, the key, and the shapes and
        dtypes of x alone. A combinator compiles it once, so that numbers drawn from
        elsewhere, such as `numpy.random`, come again in every later call.

        Args:
            key: A typed key, from `jax.random.key`.
            x: One example, or its `jax.ShapeDtypeStruct`, or a pytree of them. Only
                shapes and dtypes are looked at.

        Returns:
            Parameters and state, which are nested dicts with arrays as leaves.

        Raises:
            TypeError: If a field holds a layer, whose parameters would be left out.
        """
        for field in dataclasses.fields(self):
            if holds_layer(getattr(self, field.name)):
                raise TypeError(
                    f"{type(self).__name__} has a layer in its field {field.name!r} and no "
                    f"init of its own; derive it from fnn.Composite, which initializes and "
                    f"runs the layers in its fields, or from fnn.layers.Wrapper"
                )
        return {}, {}

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        """Compute the output for one example, and the state that comes after.

        Args:
            params: Parameters, as `init` made them.
            state: State, as `init` made it.
            x: One example.
            key: A typed key; needed by random layers when `train`.
            train: Whether to behave as in training: drop units, use and update the
                statistics of the batch.

        Returns:
            The output, and the new state, which has the structure of `state`.
        """
        return self.forward(params, x), state

    def forward(self, params: Params, x: PyTree) -> PyTree:
        """Compute the output of a layer without state or randomness."""
        raise TypeError(f"{type(self).__name__} defines neither forward nor apply")

    @property
    def draws(self) -> bool:
        """Whether `apply` may use its key; other layers are not handed one.

        True for every layer that overrides `apply`. A layer that only hands its key on
        can override this, so that a network without random layers is traced faster.
        """
        return type(self).apply is not Layer.apply

    def __call__(self, params: Params, x: PyTree) -> PyTree:
        """Compute the output at inference, of a model that holds no state."""
        y, _ = self.apply(params, _NO_STATE, x)
        return y


class Function(Layer):
    """A plain callable as a layer; combinators wrap what they are given themselves.

    Example:
        >>> fnn.layers.Function(jax.nn.relu)({}, jax.numpy.array([-1.0, 1.0]))
        Array([0., 1.], dtype=float32)
    """

    function: Callable[[PyTree], PyTree]

    def forward(self, params: Params, x: PyTree) -> PyTree:
        if isinstance(self.function, jax.custom_jvp):
            return _differentiated(self.function, x)
        return self.function(x)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _differentiated(function: Callable[[PyTree], PyTree], x: PyTree) -> PyTree:
    """Call what has a rule for its derivative, as `relu` has: to trace that takes long."""
    return function(x)


class Wrapper(Layer):
    """Base of a layer that runs another in its own way, with its parameters and name.

    Example:
        >>> class Twice(fnn.layers.Wrapper):
        ...     def forward(self, params, x):
        ...         return self.inner(params, self.inner(params, x))
        >>> model = fnn.Sequential(Twice(fnn.Dense(3)), jax.nn.relu)
        >>> params, _ = model.init(jax.random.key(0), jax.numpy.ones(3))
        >>> list(params)
        ['dense_0']
    """

    layer: Layer | Callable[[Any], Any]

    def __post_init__(self) -> None:
        as_layer(self.layer, f"layer of {type(self).__name__}")

    @property
    def inner(self) -> Layer:
        """The layer; a plain callable is wrapped."""
        return as_layer(self.layer, "layer")

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        return self.inner.init(key, x)


def as_layer(thing: Any, where: str) -> Layer:
    """Return a layer as it is and a plain callable as a `Function`."""
    if isinstance(thing, Layer):
        return thing
    if isinstance(thing, type):
        raise TypeError(f"{where} is the class {show(thing)}; give an instance of it")
    library = type(thing).__module__.partition(".")[0]
    if library in ("torch", "flax", "haiku", "keras"):
        raise TypeError(
            f"{where} is {type(thing).__name__} of {library}, which holds or finds its "
            f"parameters in another way; fnn has layers of its own, such as fnn.Dense"
        )
    if not callable(thing):
        hint = "; give the layers one by one" if isinstance(thing, list | tuple) else ""
        raise TypeError(f"{where} must be a layer or a callable, got {thing!r}{hint}")
    return Function(thing)


def holds_layer(value: Any) -> bool:
    """Return whether the value of a field is a layer, or a tuple, list or dict with one."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return any(map(holds_layer, value))
    return isinstance(value, Layer)


def kind_of(layer: Layer) -> str:
    """Return the word by which a layer is counted; for a callable, its own name."""
    if isinstance(layer, Wrapper):
        return kind_of(layer.inner)
    if not isinstance(layer, Function):
        return layer.kind
    function = getattr(layer.function, "func", layer.function)
    name = getattr(function, "__name__", type(function).__name__)
    return _snake_case(name.strip("<>"))


def spec(x: PyTree) -> PyTree:
    """Return the `jax.ShapeDtypeStruct` of every leaf, as JAX would hold it."""

    def leaf_spec(leaf: Any) -> jax.ShapeDtypeStruct:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise TypeError(
                f"x must be an array or a jax.ShapeDtypeStruct, or a pytree of them; "
                f"got {checks.describe(leaf)}"
            )
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
        return jax.ShapeDtypeStruct(leaf.shape, dtype)

    return jax.tree.map(leaf_spec, x)


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
        if not _is_typed(key) or _is_traced(key, x) or not _is_hashable(layer):
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


def _is_typed(key: Any) -> bool:
    dtype: Any = getattr(key, "dtype", None)
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


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


class _NoState(dict[str, Any]):
    """The state of `model(params, x)`; a layer that reads from it says what to do."""

    def __missing__(self, name: str) -> Any:
        raise TypeError(
            "this model holds state, so it can't be called as model(params, x); "
            "use y, state = model.apply(params, state, x)"
        )


_NO_STATE = _NoState()
jax.tree_util.register_pytree_node(_NoState, lambda _: ((), None), lambda *_: _NO_STATE)
_PATH: ContextVar[tuple[str, ...]] = ContextVar("path", default=())
_OBSERVER: ContextVar[Callable[..., Any] | None] = ContextVar("observer", default=None)


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


def show_layer(layer: Layer) -> str:
    """Return the `repr` of a layer, of a wrapped callable that of the callable."""
    return show(layer.function if isinstance(layer, Function) else layer)


def _part(tree: Any, name: str) -> Any:
    return tree.get(name, {}) if isinstance(tree, Mapping) else tree


def _entry(what: str, tree: Any, name: str) -> Any:
    if not isinstance(tree, Mapping):
        raise explaining.not_a_dict(what, tree)
    return tree if isinstance(tree, _NoState) else tree.get(name, {})


def child_key(key: Key, name: str) -> Key:
    """Return the key of the layer of this name."""
    # The stack of `Repeat` was called `layer` once; its seeds give the same values still.
    name = "layer" if name == STACK else name
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
