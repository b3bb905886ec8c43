"""A walk through a model that finds each array's name in PyTorch."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.layers.base import Layer, as_layer, show_layer, spec
from fnn.layers.batching import Batched
from fnn.layers.combinators import Parallel, Residual, Sequential
from fnn.layers.composite import Composite
from fnn.layers.linear import Dense, Flatten, Reshape
from fnn.layers.running import observed
from fnn.layers.stochastic import DropConnect
from fnn.pytorch.rules import Rule, rule_of
from fnn.types import NDArray, PyTree, Shape


class Link(NamedTuple):
    """The path of an array, beginning with `params` or `state`, and its rule."""

    path: str
    rule: Rule


class _Call(NamedTuple):
    """A layer's parameters, state and input; the arrays are specs."""

    held: dict[str, Any]
    x: Any


def find_links(model: Layer, x: PyTree, names: Mapping[str, str]) -> list[Link]:
    """Return a link for every array of a model."""
    walk = _Walk(_calls(model, x), names)
    walk.layer(model, (), names.get("", ""), None)
    if unknown := set(names) - walk.visited:
        raise ValueError(
            f"names has {sorted(unknown)}; the paths of the layers are "
            f"{sorted(walk.visited)}"
        )
    counts = Counter(link.rule.name for link in walk.links)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"several arrays would have the names {sorted(twice)}")
    return walk.links


def _calls(model: Layer, x: PyTree) -> dict[tuple[str, ...], _Call]:
    calls = {}

    def observe(
        path: tuple[str, ...], _: Layer, params: Any, state: Any, x: Any, __: Any
    ) -> None:
        calls[path] = _Call({"params": params, "state": state}, spec(x))

    params, state = jax.eval_shape(model.init, jax.random.key(0), spec(x))
    observed(observe, model, params, state, x)
    return calls | {(): _Call({"params": params, "state": state}, spec(x))}


class _Walk:
    """Collect links; `order` is PyTorch's order of the input features."""

    def __init__(
        self, calls: Mapping[tuple[str, ...], _Call], names: Mapping[str, str]
    ) -> None:
        self.links: list[Link] = []
        self.visited = {""}
        self._calls, self._names = calls, names

    def layer(
        self, layer: Layer, path: tuple[str, ...], module: str, order: NDArray | None
    ) -> NDArray | None:
        """Link a layer's arrays; return PyTorch's order of its output."""
        match layer:
            case Batched():
                return self.layer(as_layer(layer.layer, "layer"), path, module, order)
            case Composite():
                return self._children(layer, path, module, order)
        self._arrays(layer, path, module, order)
        return self._order_after(layer, path, order)

    def _children(
        self, layer: Composite, path: tuple[str, ...], module: str, order: NDArray | None
    ) -> NDArray | None:
        """Link the arrays of a composite's layers, as `layer` does."""
        after = order
        for name, child in layer.children.items():
            inside = *path, name
            if inside not in self._calls:  # `compute` does not run it
                continue
            before = after if isinstance(layer, Sequential) else order
            default = _attribute(layer, name)
            after = self._child(child, inside, module, default, before)
            if isinstance(layer, Residual):
                _check_order(after is order, path, layer)
            elif not isinstance(layer, Sequential):  # its wiring is not known
                _check_order(after is None, path, layer)
        return after

    def _child(
        self,
        child: Layer,
        path: tuple[str, ...],
        module: str,
        default: str,
        order: NDArray | None,
    ) -> NDArray | None:
        ours = "/".join(path)
        self.visited.add(ours)
        inside = f"{module}.{default}" if module else default
        return self.layer(child, path, self._names.get(ours, inside), order)

    def _arrays(
        self, layer: Layer, path: tuple[str, ...], module: str, order: NDArray | None
    ) -> None:
        for kind, arrays in self._calls[path].held.items():
            for name, array in arrays.items():
                shape = getattr(array, "shape", None)
                rule = None if shape is None else rule_of(layer, name, shape, order)
                if rule is None:
                    raise ValueError(
                        f"{'/'.join(path)!r}, {show_layer(layer)}, has no counterpart for "
                        f"its {name!r} in PyTorch"
                    )
                theirs = f"{module}.{rule.name}" if module else rule.name
                link = Link("/".join((kind, *path, name)), rule._replace(name=theirs))
                self.links.append(link)

    def _order_after(
        self, layer: Layer, path: tuple[str, ...], order: NDArray | None
    ) -> NDArray | None:
        if isinstance(layer, Dense | DropConnect):
            return None
        if not isinstance(layer, Flatten | Reshape):
            return order
        before = self._calls[path].x.shape
        after = layer.shape if isinstance(layer, Reshape) else (-1,)
        if len(after) == 1:
            return order if len(before) == 1 else _channels_first(before)
        _check_order(order is None and len(before) == 1 and 1 in after, path, layer)
        return None


def _attribute(composite: Composite, name: str) -> str:
    """Return PyTorch's name for a layer: `blocks.0` for layer 0 of the field `blocks`."""
    if isinstance(composite, Sequential | Parallel) and composite.names is None:
        return str(list(composite.children).index(name))
    for field in dataclasses.fields(composite):
        index = name.removeprefix(f"{field.name}_")
        if index != name and not isinstance(getattr(composite, field.name), Layer):
            return f"{field.name}.{index}"
    return name


def _channels_first(shape: Shape) -> NDArray | None:
    """Return the order of (channels, spatial...) in (spatial..., channels), flattened."""
    order = np.moveaxis(np.arange(np.prod(shape)).reshape(shape), -1, 0).ravel()
    return None if np.array_equal(order, np.arange(order.size)) else order


def _check_order(known: bool, path: tuple[str, ...], layer: Layer) -> None:
    if not known:
        raise ValueError(
            f"PyTorch orders the elements of an image differently, which affects "
            f"{'/'.join(path)!r}, {show_layer(layer)}; put a Dense before it"
        )
