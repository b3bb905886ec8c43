"""Whether parameters and state are those of a model."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from fnn import checks, explaining, tree
from fnn.layers.base import Layer, Wrapper, as_layer
from fnn.layers.batching import Batched
from fnn.layers.running import initial
from fnn.types import Params, PyTree, State
from fnn.values import show

SHOWN = 20
"""How many of the leaves that differ an error lists."""


def check_agreement(model: Layer, params: Params, state: State, x: PyTree) -> None:
    """Raise unless a model runs on parameters and state that have the shapes of its own.

    What they hold beyond that is allowed, as a part of a model runs on the parameters of
    the whole; so are other shapes in layers that are not fnn's, if these take them.

    Args:
        model: For one example.
        params: Its parameters, or those of another model.
        state: Its state, or that of another model.
        x: The spec of one example.

    Raises:
        TypeError: If parameters or state are not dicts.
        ValueError: If leaves are missing or have other shapes; they are named by path.
    """
    for what, held in {"params": params, "state": state}.items():
        if not isinstance(held, Mapping):
            raise explaining.not_a_dict(what, held)
    differing = _differing(model, params, state, x)
    if not differing:
        return
    words = [line for line, _ in differing]
    more = f"\n  and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    listed = "".join(f"\n  {line}" for line in words[:SHOWN]) + more
    try:
        jax.eval_shape(model.apply, params, state, x)
    except Exception as error:
        error.add_note(f"init makes others for x {checks.describe(x)}:{listed}")
        raise
    if any(certain for _, certain in differing):
        raise ValueError(
            f"params and state are not those of the model, {show(model)}:{listed}"
        )


def _differing(
    model: Layer, params: Params, state: State, x: PyTree
) -> list[tuple[str, bool]]:
    """Describe leaves that differ from those that `init` makes.

    With each comes whether the layer that holds it is one of fnn's, whose shapes are fixed.
    """
    leaves, structure = jax.tree.flatten(x)
    try:
        wanted = _made(model, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
    except Exception:  # of what is wrong with x, `apply` says more
        return []
    lines = []
    for name, part, held in zip(("params", "state"), wanted, (params, state), strict=True):
        given = tree.flatten(held)
        for path, leaf in part.items():
            shape = getattr(given[path], "shape", ()) if path in given else None
            if shape == leaf.shape:
                continue
            got = "missing" if shape is None else checks.describe(given[path])
            line = f"{name} {path!r} is {got}, the model has {checks.describe(leaf)}"
            lines.append((line, shape is None or _is_of_fnn(model, path.split("/"))))
    return lines


@functools.lru_cache(maxsize=32)
def _made(model: Layer, structure: Any, leaves: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return by path the specs of what `init` makes, which are kept for the next call."""
    x = structure.unflatten(jax.ShapeDtypeStruct(*leaf) for leaf in leaves)
    init = functools.partial(initial, model)
    params, state = jax.eval_shape(init, jax.eval_shape(jax.random.key, 0), x)
    return tree.flatten(params), tree.flatten(state)


def _is_of_fnn(layer: Layer, path: list[str]) -> bool:
    """Return whether the layer is one of fnn's that holds what has this path inside."""
    if isinstance(layer, Wrapper | Batched):
        return _is_of_fnn(as_layer(layer.layer, "layer"), path)
    children: Any = getattr(layer, "children", {})
    if path[0] in children:
        return _is_of_fnn(children[path[0]], path[1:])
    return type(layer).__module__.partition(".")[0] == "fnn"
