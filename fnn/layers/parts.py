"""A tuple of layers with names, which can be cut apart."""

import copy
import functools
import operator
from collections.abc import Iterator
from typing import Any, Self, overload

from fnn.layers.base import as_layer, kind_of
from fnn.layers.composite import Composite, LayerLike, Part


class Parts(Composite):
    """Base of what has several layers, named by kind and count or by the user."""

    layers: tuple[LayerLike, ...]
    names: tuple[str, ...] | None = None

    @functools.cached_property
    def _parts(self) -> dict[str, Any]:
        names = _counted(self.layers) if self.names is None else self.names
        layers = [as_layer(layer, "layer") for layer in self.layers]
        return {"layers": tuple(map(Part, names, layers))}

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        """Return True: a layer is there also where it has no parts."""
        return True

    def __iter__(self) -> Iterator[LayerLike]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int | str) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | str | slice) -> Any:
        owner, names = type(self).__name__, tuple(self.children)
        if isinstance(index, slice):
            layers, kept = self.layers[index], names[index]
            counted = self.names is None and kept == _counted(layers)
            part = copy.copy(self)
            part._set(layers=layers, names=None if counted or not kept else kept)
            return part
        if isinstance(index, str):
            if index not in names:
                raise KeyError(f"{owner} has no layer {index!r}; it has {', '.join(names)}")
            return self.layers[names.index(index)]
        if not -len(self) <= (i := operator.index(index)) < len(self):
            raise IndexError(f"{owner} has {len(self)} layers, no layer {i}")
        return self.layers[i]


def _counted(layers: tuple[LayerLike, ...]) -> tuple[str, ...]:
    """Name layers by kind and count."""
    kinds = [kind_of(as_layer(layer, "layer")) for layer in layers]
    return tuple(f"{kind}_{kinds[:i].count(kind)}" for i, kind in enumerate(kinds))
