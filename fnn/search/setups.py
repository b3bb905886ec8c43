"""What is trained: an objective and an optimizer, in which a setting replaces fields."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fnn.values import Value, show

Pair: TypeAlias = tuple[Any, Any]
Setup: TypeAlias = Pair | Callable[[dict[str, Any]], Pair]
"""An objective and an optimizer; or a function that makes them of a setting."""


def applied(setup: Setup, setting: Mapping[str, Any]) -> Pair:
    """Return objective and optimizer for a setting.

    A path such as `"optimizer.learning_rate"` or `"model.layers.2.rate"` begins with
    `optimizer` or with a field of the objective; numbers count the items of tuples.

    Raises:
        ValueError: If a path leads nowhere.
        TypeError: If the setup is neither a pair nor a function that returns one.
    """
    if callable(setup) and not isinstance(setup, Value):
        pair: Any = setup(dict(setting))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"setup must return an objective and an optimizer, got {show(pair)}"
            )
        return pair
    given: Any = setup
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(
            f"setup must be a pair (objective, optimizer), or a function from a setting to "
            f"one; got {show(given)}"
        )
    objective, optimizer = given
    for path, value in setting.items():
        first, *rest = path.split(".")
        if first == "optimizer":
            optimizer = _replaced(optimizer, rest, value, path)
        else:
            objective = _replaced(objective, [first, *rest], value, path)
    return objective, optimizer


def _replaced(owner: Any, parts: list[str], value: Any, path: str) -> Any:
    """Return the owner with another value at the path."""
    if not parts:
        return value
    name, *rest = parts
    if isinstance(owner, tuple):
        if not name.isdigit() or int(name) >= len(owner):
            raise ValueError(
                f"{path!r} needs a number below {len(owner)} in place of {name!r}"
            )
        i = int(name)
        return (*owner[:i], _replaced(owner[i], rest, value, path), *owner[i + 1 :])
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
    names = [field.name for field in fields]
    if name not in names:
        raise ValueError(
            f"{path!r} leads nowhere: {show(owner)} has no field {name!r}; "
            f"its fields are {names}"
        )
    new = _replaced(getattr(owner, name), rest, value, path)
    return dataclasses.replace(owner, **{name: new})
