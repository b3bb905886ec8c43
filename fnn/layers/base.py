"""The protocol of a layer, and the layers that only wrap a callable or another layer."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, ClassVar

import jax

from fnn import checks
from fnn.platforms import traced_once
from fnn.types import Key, Params, PyTree, State
from fnn.values import Value, show


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


@traced_once(static=0)
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


def show_layer(layer: Layer) -> str:
    """Return the `repr` of a layer, of a wrapped callable that of the callable."""
    return show(layer.function if isinstance(layer, Function) else layer)


class NoState(dict[str, Any]):
    """The state of `model(params, x)`; a layer that reads from it says what to do."""

    def __missing__(self, name: str) -> Any:
        raise TypeError(
            "this model holds state, so it can't be called as model(params, x); "
            "use y, state = model.apply(params, state, x)"
        )


_NO_STATE = NoState()
jax.tree_util.register_pytree_node(NoState, lambda _: ((), None), lambda *_: _NO_STATE)
