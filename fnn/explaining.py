"""Errors of Python, NumPy and JAX in a layer, in fnn's words."""

import ast
import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from fnn import checks
from fnn.types import PyTree

# fnn's own errors write `jax.ShapeDtypeStruct`, outside of "<class '...'>".
OF_A_SPEC = re.compile(r"(<class '[\w.]*|'|\bA )ShapeDtypeStruct")


class Call(NamedTuple):
    """A failed call: the function, its name, and the names of its arguments."""

    function: Callable[..., Any]
    name: str
    arguments: tuple[str, ...]
    keywords: tuple[str, ...] = ()


def explained(
    error: Exception, call: Call, x: PyTree, params: Any, state: Any
) -> Exception:
    """Return an error with a remedy, or the same error if it is clear.

    Args:
        error: The layer's error.
        call: The call of the layer's method.
        x: The layer's input.
        params: Its parameters.
        state: Its state.
    """
    if isinstance(error, KeyError):
        return _of_a_missing_key(error, x, params, state)
    if not isinstance(error, TypeError | AttributeError | ValueError):
        return error
    if OF_A_SPEC.search(str(error)):
        return TypeError(
            f"{call.name} reads more of x than shape and dtype, but x "
            f"is a jax.ShapeDtypeStruct; x.shape[1:] is the shape of x[0]"
        )
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return TypeError(
            f"{call.name} computes in NumPy, which can't be compiled or differentiated; "
            f"use the function of the same name in jax.numpy"
        )
    try:
        checks.arrays(x, "x", scalars=True)
    except TypeError as clear:
        return clear
    wrong = _wrong_signature(call) if isinstance(error, TypeError) else None
    return error if wrong is None else TypeError(wrong)


def initial(owner: str, made: Any) -> Any:
    """Return the result of an `init`, or raise unless it is a pair of dicts of arrays."""
    if isinstance(made, tuple) and len(made) == 2:
        params, state = made
        dicts = isinstance(params, Mapping) and isinstance(state, Mapping | None)
        if dicts and not any(isinstance(leaf, str) for leaf in jax.tree.leaves(made)):
            return made
    raise TypeError(
        f"init of {owner} must return a pair (params, state) of nested dicts with arrays "
        f"as leaves, the state {{}} where there is none; got {checks.describe(made)}"
    )


def not_a_dict(what: str, tree: Any) -> TypeError:
    """Return an error for an invalid value of `"params"` or `"state"`."""
    pair = isinstance(tree, tuple) and len(tree) == 2
    hint = "; take the pair apart: params, state = model.init(key, x)" if pair else ""
    return TypeError(
        f"{what} must be a dict with an entry per layer, got {checks.describe(tree)}{hint}"
    )


def not_applied(owner: str, shown: str, made: Any) -> TypeError:
    """Return an error for an `apply` that did not return an output and a state."""
    if isinstance(made, tuple) and len(made) == 2:
        return TypeError(f"{shown} returned None instead of an output")
    return TypeError(
        f"apply of {owner} must return a pair (output, state), got "
        f"{checks.describe(made)}; a layer without state defines forward instead"
    )


def _of_a_missing_key(error: KeyError, x: PyTree, params: Any, state: Any) -> Exception:
    """Return an error that names the dict that lacks a key, and the keys that it has.

    An error from another lookup, in a table of the layer's own, is unchanged.
    """
    variable, asked = _asked_for_a_key(error)
    for name, held in {"x": x, "params": params, "state": state}.items():
        for path, node in _dicts(name, held):
            # Under `vmap` a layer sees other dicts, with the same keys.
            alike = variable == name and asked is not None and set(node) == set(asked)
            if node is asked or alike:
                keys = ", ".join(map(repr, node)) or "no keys"
                return ValueError(f"there is no {error.args[0]!r}: {path} has {keys}")
    return error


def _dicts(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield a dict and those inside it, each with the expression that returns it."""
    if isinstance(node, Mapping):
        yield path, node
        for key, inner in node.items():
            yield from _dicts(f"{path}[{key!r}]", inner)


def _asked_for_a_key(error: KeyError) -> tuple[str | None, Mapping[Any, Any] | None]:
    """Return a variable, and the dict in it whose subscript failed; None if unknown.

    For `params["a"]["w"]` these are `params` and `params["a"]`. They are read from the
    source of the innermost frame.
    """
    frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
    place = traceback.extract_tb(error.__traceback__)[-1]
    start, stop, last = place.colno, place.end_colno, place.end_lineno
    if place.lineno is None or start is None or stop is None or last is None:
        return None, None
    numbers = range(place.lineno, last + 1)
    lines = [linecache.getline(place.filename, n).encode() for n in numbers]
    lines[-1] = lines[-1][:stop]
    lines[0] = lines[0][start:]
    try:
        failed = ast.parse(b"".join(lines), mode="eval").body
    except SyntaxError:
        return None, None
    if not isinstance(failed, ast.Subscript):
        return None, None
    name, node = _held(failed.value, frame.f_locals)
    return name, node if isinstance(node, Mapping) else None


def _held(node: ast.expr, variables: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Return a variable, and the value of an expression on it, such as `params["a"]`."""
    match node:
        case ast.Name(id=name):
            return name, variables.get(name)
        case ast.Subscript(value=outer, slice=ast.Constant(value=key)):
            variable, held = _held(outer, variables)
            return variable, held.get(key) if isinstance(held, Mapping) else None
    return None, None


def _wrong_signature(call: Call) -> str | None:
    """Return an error text if the function's signature is wrong, else `None`."""
    try:
        signature = inspect.signature(call.function)
    except (TypeError, ValueError):  # functions written in C
        return None
    try:
        signature.bind(*call.arguments, **dict.fromkeys(call.keywords))
    except TypeError:
        named = [f"{name}=..." for name in call.keywords]
        wanted = ", ".join([*call.arguments, *named])
        return f"{call.name} must take ({wanted}), it takes {signature}"
    return None
