"""Values: immutable configuration that prints, compares, hashes and pickles."""

import dataclasses
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import jax
import numpy as np

_SomeValue = TypeVar("_SomeValue", bound="Value")

LINE_LENGTH = 88
JAX_NAMESPACES = (
    "jax.nn",
    "jax.numpy",
    "jax.lax",
    "jax.nn.initializers",
    "jax.scipy.special",
    "jax.random",
    "jax",
)


class _NamedArguments:
    """Base that refuses arguments which a class does not have, and names what is meant."""

    _arguments_of_init: ClassVar[frozenset[str] | None] = frozenset()
    """The names that `__init__` takes; `None` if it is written by hand."""

    def __new__(cls, *_: Any, **named: Any) -> Self:
        known = cls._arguments_of_init
        if known is not None and not named.keys() <= known:
            from fnn.suggestions import misnamed

            as_value: Any = cls
            fields = [field.name for field in dataclasses.fields(as_value) if field.init]
            raise TypeError(misnamed(public_name(cls), named, fields))
        return super().__new__(cls)


@dataclass_transform(frozen_default=True)
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Value(_NamedArguments):
    """Make every subclass a frozen dataclass with a `repr` that evaluates.

    Two values are equal when their types and their fields are; arrays compare by
    content, `functools.partial` by function and arguments. A value is therefore
    safe as a static argument of `jax.jit`: building it again does not recompile.
    `repr` omits fields that have their default, and names JAX's functions, fnn's own
    classes and its ready-made values by their public names; those of functions are
    also what is pickled, so that a model that holds `jax.nn.relu` pickles although the
    function does not. An argument that a class does not have is an error, which names
    the one that is meant.

    Change a value with `replace`.

    Example:
        >>> import fnn
        >>> layer = fnn.Dense(10, bias=False)
        >>> layer
        fnn.Dense(10, bias=False)
        >>> eval(repr(layer)) == layer
        True
        >>> fnn.Dense(10, kernel_init=fnn.initializers.Constant(0.0))
        fnn.Dense(10, kernel_init=fnn.initializers.zeros)
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            cls._arguments_of_init = None
        # A subclass keeps an `__init__` that is written by hand. Without fields of its own,
        # it keeps any.
        own = bool(inspect.get_annotations(cls)) and cls._arguments_of_init is not None
        value: Any = dataclasses.dataclass(frozen=True, repr=False, eq=False, init=own)(cls)
        if own:
            names = (field.name for field in dataclasses.fields(value) if field.init)
            cls._arguments_of_init = frozenset(names)
        # The dataclass has got a `__setattr__` of its own, which does not say what to do.
        value.__setattr__ = _refuse_to_set

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return _comparable(fields_of(self)) == _comparable(fields_of(other))

    def __hash__(self) -> int:
        # Kept, because `jit` hashes its static arguments at every call.
        if "_hash" not in self.__dict__:
            self._set(_hash=hash((type(self), _comparable(fields_of(self)))))
        return int(self.__dict__["_hash"])

    def __repr__(self) -> str:
        if ready_made := _ready_made(self):
            return ready_made
        return self._spelled_out()

    def _spelled_out(self) -> str:
        """Return the expression that makes the value, though it may have a name."""
        name, arguments = public_name(type(self)), list(self._arguments())
        line = f"{name}({', '.join(arguments)})"
        if len(line) <= LINE_LENGTH and "\n" not in line:
            return line
        body = "".join(f"{argument},\n" for argument in arguments)
        return f"{name}(\n{textwrap.indent(body, '    ')})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (_by_public_name(type(self)), _portable(fields_of(self)))

    def replace(self, **fields: Any) -> Self:
        """Return a copy with other values in some of its fields.

        Raises:
            TypeError: If the class has no such field.

        Example:
            >>> import fnn
            >>> fnn.Dense(10).replace(bias=False)
            fnn.Dense(10, bias=False)
        """
        own = fields_of(self)
        if fields.keys() - own.keys():
            from fnn.suggestions import misnamed

            raise TypeError(misnamed(public_name(type(self)), fields, list(own)))
        changed = make(type(self), own | fields)
        if check := getattr(changed, "__post_init__", None):
            check()
        return changed

    def _arguments(self) -> Iterator[str]:
        """Yield the arguments that `repr` shows."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING:
                yield show(value)
            elif not same(value, field.default):
                yield f"{field.name}={show(value)}"

    def _set(self, **fields: Any) -> None:
        """Write fields; only for `__init__` and `__post_init__`."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


def replace_at(value: Any, path: Sequence[str], new: Any) -> Any:
    """Return a value with another part at a path, such as `("layers", "2", "rate")`.

    Args:
        value: A value, another dataclass, or a tuple.
        path: Names of fields; in a tuple, the number of the item.
        new: The new value.

    Raises:
        ValueError: If the path leads nowhere.

    Example:
        >>> import fnn
        >>> model = fnn.Sequential(fnn.Dense(3), fnn.Dropout(0.5))
        >>> replace_at(model, ("layers", "1", "rate"), 0.1)
        fnn.Sequential(fnn.Dense(3), fnn.Dropout(0.1))
    """
    if not path:
        return new
    name, *rest = path
    parts = _parts(value)
    if name in parts:
        part = replace_at(parts[name], rest, new)
        if isinstance(value, tuple):
            return tuple((parts | {name: part}).values())
        if isinstance(value, Value):
            return value.replace(**{name: part})
        return dataclasses.replace(value, **{name: part})
    if isinstance(value, tuple):
        raise ValueError(f"it needs a number below {len(value)} in place of {name!r}")
    raise ValueError(f"{show(value)} has no field {name!r}; its fields are {list(parts)}")


def paths_to(value: Any, field: str) -> list[tuple[str, ...]]:
    """Return the paths, as in `replace_at`, of all fields of this name in a value.

    Example:
        >>> import fnn
        >>> paths_to(fnn.Sequential(fnn.Dense(3), fnn.Dropout(0.5)), "rate")
        [('layers', '1', 'rate')]
    """
    found: list[tuple[str, ...]] = []
    for name, part in _parts(value).items():
        if name == field:
            found.append((name,))
        else:
            found += [(name, *path) for path in paths_to(part, field)]
    return found


def _parts(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, or the items of a tuple, by name."""
    if isinstance(value, tuple):
        return {str(i): part for i, part in enumerate(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {}


def _refuse_to_set(value: Value, name: str, _: Any) -> None:
    """Raise as frozen dataclasses do, and say what to write instead."""
    raise dataclasses.FrozenInstanceError(
        f"can't set {name!r}: {public_name(type(value))} is a value, whose fields are "
        f"declared in the class, as in `{name}: int`, and set when it is made, without an "
        f"__init__ of its own; its method replace makes a changed copy"
    )


def show(value: Any) -> str:
    """Return an expression for `value` that needs only `fnn` and `jax` imported."""
    if isinstance(value, functools.partial):
        arguments = [show(a) for a in (value.func, *value.args)]
        arguments += [f"{name}={show(a)}" for name, a in value.keywords.items()]
        return f"jax.tree_util.Partial({', '.join(arguments)})"
    if isinstance(value, np.ndarray | jax.Array) and not _is_tracer(value):
        return f"jax.numpy.array({np.asarray(value).tolist()}, dtype={value.dtype.name!r})"
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return f"float('{value}')"
    if type(value) is tuple:
        inner = ", ".join(map(show, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is list:
        return f"[{', '.join(map(show, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{show(k)}: {show(v)}' for k, v in value.items())}}}"
    if callable(value) and not isinstance(value, Value):
        return public_name(value)
    return repr(value)


def public_name(thing: Any) -> str:
    """Return the shortest dotted name by which a class or a function is imported.

    An object without such a name (a lambda, a nested function) is shown by its `repr`, a
    class in a function by its own name.
    """
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", getattr(thing, "__name__", None))
    if isinstance(thing, type) and "<" in thing.__qualname__:
        return thing.__name__
    if not module or not name or "<" in name:
        return repr(thing)
    if module in ("builtins", "__main__"):
        return str(name)
    return _shortest_name(module, str(name), thing)


def _shortest_name(module: str, name: str, thing: Any) -> str:
    """Return the name under which the outermost package has what a module defines."""
    parts, first = module.split("."), name.partition(".")[0]
    prefixes = (".".join(parts[: i + 1]) for i in range(len(parts)))
    # To ask a package of fnn's for what it does not have takes long: it makes an error.
    having = (p for p in prefixes if first in dir(sys.modules.get(p)))
    for candidate in JAX_NAMESPACES if parts[0] == "jax" else having:
        if _lookup(sys.modules.get(candidate), name) is thing:
            return f"{candidate}.{name}"
    return f"{module}.{name}"


def _ready_made(value: Value) -> str | None:
    """Return the name of fnn's ready-made value that equals this one, if there is one.

    It stands in the module of its class, as `he_normal` does beside `VarianceScaling`.
    """
    module = type(value).__module__
    if not module.startswith("fnn."):
        return None
    for name, thing in vars(sys.modules[module]).items():
        ready = type(thing) is type(value) and not name.startswith("_")
        if ready and same(fields_of(thing), fields_of(value)):
            return _shortest_name(module, name, thing)
    return None


def reads_the_same(one: Any, other: Any) -> bool:
    """Return whether two stored values are equal, texts up to how they are written.

    A text may have a ready-made value by its name or spelled out, as it was printed when
    it was stored, and other line breaks.

    Example:
        >>> import fnn
        >>> spelled_out = "fnn.Dense(3, kernel_init=fnn.initializers.Constant(0.0))"
        >>> layer = fnn.Dense(3, kernel_init=fnn.initializers.zeros)
        >>> reads_the_same(spelled_out, repr(layer))
        True
    """
    if isinstance(one, str) and isinstance(other, str):
        return one == other or _on_one_line(one) == _on_one_line(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            reads_the_same(one[name], other[name]) for name in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(reads_the_same, one, other))
    return bool(one == other)


def _on_one_line(text: str) -> str:
    """Return a text without line breaks, its ready-made values spelled out."""
    text = re.sub(r",?\n\s*", lambda gap: ", " if "," in gap[0] else "", text)
    text = text.replace(", )", ")").replace("(, ", "(")
    for module in [m for name, m in [*sys.modules.items()] if name.startswith("fnn.")]:
        for name, value in [*vars(module).items()]:
            if isinstance(value, Value) and type(value).__module__ == module.__name__:
                short = re.escape(_shortest_name(module.__name__, name, value))
                text = re.sub(rf"{short}(?![\w(])", value._spelled_out(), text)
    return text


@dataclasses.dataclass(frozen=True)
class _Named:
    """Stands in a pickle for an object that is found again by its name."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class _Partial:
    """Stands in a pickle for a `functools.partial`, whose function is `_portable`."""

    kind: type[Any]
    function: Any
    arguments: Any
    keywords: Any


def fields_of(value: Value) -> dict[str, Any]:
    """Return the fields of a value by name."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _is_tracer(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _lookup(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def same(one: Any, other: Any) -> bool:
    """Return whether two fields are equal; a tracer, which has no value, equals none."""
    try:
        return bool(_comparable(one) == _comparable(other))
    except jax.errors.TracerBoolConversionError:
        return False


def _comparable(value: Any) -> Any:
    """Return what stands for `value` in comparisons and hashes."""
    if isinstance(value, functools.partial):
        keywords = _comparable(value.keywords)
        return (functools.partial, _comparable((value.func, *value.args)), keywords)
    if isinstance(value, np.ndarray | jax.Array) and not _is_tracer(value):
        array = np.asarray(value)
        return (np.ndarray, array.shape, array.dtype.name, array.tobytes())
    if isinstance(value, tuple | list):
        return tuple(map(_comparable, value))
    if isinstance(value, dict):
        return _Entries({key: _comparable(entry) for key, entry in value.items()})
    return value


@dataclasses.dataclass(frozen=True)
class _Entries:
    """A dict that hashes; as with any dict, the order of its entries does not count."""

    entries: dict[Any, Any]

    def __hash__(self) -> int:
        return hash(frozenset(self.entries.items()))


def _portable(value: Any) -> Any:
    """Replace JAX's functions, many of which do not pickle, by their names."""
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return _Partial(type(value), *map(_portable, parts))
    if type(value) in (tuple, list):
        return type(value)(map(_portable, value))
    if type(value) is dict:
        return {k: _portable(v) for k, v in value.items()}
    if callable(value) and not isinstance(value, Value):
        module, _, name = public_name(value).rpartition(".")
        if module in JAX_NAMESPACES and _lookup(sys.modules[module], name) is value:
            return _Named(module, name)
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, _Named):
        return _lookup(importlib.import_module(value.module), value.name)
    if isinstance(value, _Partial):
        keywords = _restored(value.keywords)
        function, arguments = _restored(value.function), _restored(value.arguments)
        return value.kind(function, *arguments, **keywords)
    if type(value) in (tuple, list):
        return type(value)(map(_restored, value))
    if type(value) is dict:
        return {k: _restored(v) for k, v in value.items()}
    return value


def make(cls: type[_SomeValue], fields: dict[str, Any]) -> _SomeValue:
    """Return a value with these fields, all of the class's, without calling `__init__`."""
    value = object.__new__(cls)
    value._set(**fields)
    return value


def _by_public_name(cls: type[Value]) -> Any:
    """Return a class of fnn's by its public name, which stays where its module may not."""
    module, _, name = public_name(cls).rpartition(".")
    public = cls.__module__.startswith("fnn.") and module in sys.modules
    return _Named(module, name) if public else cls


def _rebuild(cls: Any, fields: dict[str, Any]) -> Value:
    return make(_restored(cls), _restored(fields))
