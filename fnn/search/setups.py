"""Setups: an objective and an optimizer, in which a setting replaces fields."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fnn.values import Value, replace_at, show

Pair: TypeAlias = tuple[Any, Any]
Setup: TypeAlias = Pair | Callable[[dict[str, Any]], Pair]
"""An objective and an optimizer, or a function from a setting to them."""


def _is_function(setup: Any) -> bool:
    """Return whether a setup is a function; a value, such as an objective, is not."""
    return callable(setup) and not isinstance(setup, Value)


def check_setup(setup: Any) -> None:
    """Raise unless this is a pair or a function."""
    if not _is_function(setup) and (not isinstance(setup, tuple) or len(setup) != 2):
        raise TypeError(
            f"setup must be a pair (objective, optimizer), or a function from a setting to "
            f"one; got {show(setup)}"
        )


def with_setting(setup: Setup, setting: Mapping[str, Any]) -> Pair:
    """Return objective and optimizer for a setting.

    A path such as `"optimizer.learning_rate"` or `"model.layers.2.rate"` begins with
    `optimizer` or with a field of the objective; numbers count the items of tuples.

    Raises:
        ValueError: If a path leads nowhere.
        TypeError: If the setup is neither a pair nor a function that returns one.
    """
    check_setup(setup)
    given: Any = setup
    if _is_function(given):
        pair = given(dict(setting))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"setup must return an objective and an optimizer, got {show(pair)}"
            )
        return pair
    objective, optimizer = given
    for path, value in setting.items():
        first, *rest = path.split(".")
        try:
            if first == "optimizer":
                optimizer = replace_at(optimizer, rest, value)
            else:
                objective = replace_at(objective, [first, *rest], value)
        except ValueError as error:
            raise ValueError(f"{path!r} leads nowhere: {error}") from None
    return objective, optimizer
