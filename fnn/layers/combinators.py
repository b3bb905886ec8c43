"""Layers made of layers."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.layers.base import as_layer
from fnn.layers.composite import (
    Composite,
    LayerLike,
    Part,
    Run,
    check_not_reserved,
    may_draw,
)
from fnn.layers.parts import Parts
from fnn.types import PyTree
from fnn.values import same, show


class _OfParts(Parts):
    """Several layers, given one by one or by name."""

    def _take(self, layers: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Set the fields from `(*layers)` or `(**named)`.

        A subclass may have further fields, which are given by name.
        """
        self._take_own_fields(named)
        if layers and named:
            raise TypeError(f"{type(self).__name__} takes layers or named layers, not both")
        names = tuple(named) if named else None
        self._set(layers=layers or tuple(named.values()), names=names)
        self.__post_init__()

    def __post_init__(self) -> None:
        owner, layers, names = type(self).__name__, self.layers, self.names
        if names is not None and len(names) != len(layers):
            raise ValueError(f"{owner} got {len(names)} names for {len(layers)} layers")
        check_not_reserved(owner, names or ())
        for i, layer in enumerate(layers):
            as_layer(layer, f"layer {names[i] if names else i} of {owner}")

    def _take_own_fields(self, named: dict[str, Any]) -> None:
        """Take the fields that a subclass adds out of `named`."""
        for field in dataclasses.fields(self)[2:]:
            if field.name in named:
                self._set(**{field.name: named.pop(field.name)})
            elif field.default_factory is not dataclasses.MISSING:
                self._set(**{field.name: field.default_factory()})
            elif field.default is dataclasses.MISSING:
                raise TypeError(f"{type(self).__name__} needs the argument {field.name}")

    def _arguments(self) -> Iterator[str]:
        for i, layer in enumerate(self.layers):
            yield f"{self.names[i]}={show(layer)}" if self.names else show(layer)
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if not same(value, field.default):
                yield f"{field.name}={show(value)}"


class Sequential(_OfParts):
    """Apply layers one after the other: y = fₙ(… f₂(f₁(x))).

    It has the length, the order and the items of its layers: `model[0]`, `model[-1]`,
    `model["dense_1"]`. A slice, such as `model[:-1]`, is a model too. Its layers keep the
    names that they have in the whole, so it takes the parameters of the whole.

    Args:
        *layers: Layers or plain callables. Parameters are named by kind and count,
            `dense_0`, `conv_0`, `dense_1`; what holds no parameters has no entry.
        **named: Instead, layers with names of your choice.

    Raises:
        TypeError: If something is neither a layer nor a callable, or if positional and
            named layers are mixed.
        ValueError: If a layer is named `stack`, which is reserved for `Repeat`.

    Example:
        >>> model = fnn.Sequential(fnn.Dense(8), jax.nn.relu, fnn.Dense(2))
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones(4))
        >>> jax.tree.map(jax.numpy.shape, params["dense_1"])
        {'bias': (2,), 'kernel': (8, 2)}
        >>> model(params, jax.numpy.ones(4)).shape
        (2,)
        >>> fnn.Sequential(body=fnn.Dense(8), head=fnn.Dense(2))
        fnn.Sequential(body=fnn.Dense(8), head=fnn.Dense(2))
        >>> model[1:]
        fnn.Sequential(relu_0=jax.nn.relu, dense_1=fnn.Dense(2))
        >>> model[:2](params, jax.numpy.ones(4)).shape
        (8,)
    """

    def __init__(self, *layers: LayerLike, **named: LayerLike) -> None:
        self._take(layers, named)

    @property
    def draws(self) -> bool:
        return may_draw(self, Sequential)

    def compute(self, run: Run, x: PyTree) -> PyTree:
        for layer in run.layers:
            x = layer(x)
        return x


class Parallel(_OfParts):
    """Apply layers to the same input: y = merge((f₁(x), …, fₙ(x))).

    Args:
        *layers: Layers or plain callables, named and counted as in `Sequential`.
        merge: Makes one output of the tuple of outputs, such as the builtin `sum` or
            `functools.partial(jax.numpy.concatenate, axis=-1)`. By default the tuple
            is the output.
        **named: Instead, layers with names of your choice.

    Raises:
        TypeError: If something is neither a layer nor a callable, or if positional and
            named layers are mixed.
        ValueError: If a layer is named `stack`, which is reserved for `Repeat`.

    Example:
        >>> model = fnn.Parallel(jax.numpy.sin, jax.numpy.cos)
        >>> model({}, jax.numpy.zeros(()))
        (Array(0., dtype=float32), Array(1., dtype=float32))
        >>> fnn.Parallel(jax.numpy.sin, jax.numpy.cos, merge=sum)({}, 0.0)
        Array(1., dtype=float32, weak_type=True)
    """

    merge: Callable[[tuple[Any, ...]], PyTree] | None = None

    def __init__(
        self,
        *layers: LayerLike,
        merge: Callable[[tuple[Any, ...]], PyTree] | None = None,
        **named: LayerLike,
    ) -> None:
        self._take(layers, named | {"merge": merge})

    @property
    def draws(self) -> bool:
        return may_draw(self, Parallel)

    def compute(self, run: Run, x: PyTree) -> PyTree:
        y = tuple(layer(x) for layer in run.layers)
        return y if self.merge is None else self.merge(y)


class Residual(Composite):
    """Add a layer's output to its input: y = shortcut(x) + branch(x).

    Source: He et al. 2016, "Deep residual learning for image recognition".

    Args:
        branch: A layer or a plain callable.
        shortcut: The layer that the input passes on its way around the branch, such as a
            `Dense` where the branch changes the shape; by default the identity.

    Raises:
        ValueError: When applied, if the two outputs differ in shape.

    Example:
        >>> model = fnn.Residual(jax.numpy.sin)
        >>> model({}, jax.numpy.zeros(2))
        Array([0., 0.], dtype=float32)
    """

    branch: LayerLike
    shortcut: LayerLike | None = None

    def __post_init__(self) -> None:
        as_layer(self.branch, "branch of Residual")
        if self.shortcut is not None:
            as_layer(self.shortcut, "shortcut of Residual")

    @functools.cached_property
    def _parts(self) -> dict[str, Any]:
        parts = {"branch": Part("branch", as_layer(self.branch, "branch"))}
        if self.shortcut is not None:
            parts["shortcut"] = Part("shortcut", as_layer(self.shortcut, "shortcut"))
        return parts

    @property
    def draws(self) -> bool:
        return may_draw(self, Residual)

    def compute(self, run: Run, x: PyTree) -> PyTree:
        y = run.branch(x)
        x = x if self.shortcut is None else run.shortcut(x)
        if jax.tree.map(jnp.shape, x) != jax.tree.map(jnp.shape, y):
            raise ValueError(
                f"Residual can't add its branch's output, {checks.describe(y)}, to "
                f"{checks.describe(x)}; give it a shortcut that changes the shape alike"
            )
        return tree.add(x, y)
