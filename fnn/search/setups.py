"""What is trained: an objective and an optimizer, in which a setting replaces fields."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fnn.values import Value, replace_at, show

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
        try:
            if first == "optimizer":
                optimizer = replace_at(optimizer, rest, value)
            else:
                objective = replace_at(objective, [first, *rest], value)
        except ValueError as error:
            raise ValueError(f"{path!r} leads nowhere: {error}") from None
    return objective, optimizer
