"""Optimizers made of others: one after the other, or each for its own leaves."""

import fnmatch
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from fnn import tree
from fnn.optimizers.base import (
    Optimizer,
    check_optimizer,
    frozen_mask,
    learning_rates,
    named_rates,
    takes_extra,
    updated,
)
from fnn.optimizers.selection import (
    as_pattern,
    extra_of_part,
    keep,
    with_places,
    with_zeros,
    without_frozen,
)
from fnn.tree import Pattern
from fnn.types import Array, GradientTransformation, Params, PyTree
from fnn.values import show

NOBODY = -1


def _last(values: Sequence[Any]) -> Any:
    """Return the last that is not `None`, or `None`."""
    return next((value for value in reversed(values) if value is not None), None)


class Chain(Optimizer):
    """Pass the gradients through several transforms, the optimizer last.

    Leaves that one of the stages freezes are kept from all of them: their gradients have
    no part in the norm by which `ClipByGlobalNorm` clips.

    Args:
        *stages: Optimizers or gradient transforms, fnn's or Optax's.

    Raises:
        TypeError: If something lacks `init` or `update`.

    Example:
        >>> optimizer = fnn.optimizers.Chain(
        ...     fnn.optimizers.ClipByGlobalNorm(1.0), fnn.optimizers.SGD(0.1)
        ... )
        >>> state = optimizer.init({"w": jax.numpy.zeros(1)})
        >>> optimizer.update({"w": jax.numpy.array([5.0])}, state)[0]
        {'w': Array([-0.1], dtype=float32)}
    """

    transforms: tuple[GradientTransformation, ...]

    def __init__(self, *stages: Any) -> None:
        self._set(transforms=stages)
        self.__post_init__()

    def __post_init__(self) -> None:
        for transform in self.transforms:
            check_optimizer(transform, "Chain")

    def init(self, params: Params) -> Any:
        params = without_frozen(self, params)
        return tuple(transform.init(params) for transform in self.transforms)

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        updates = without_frozen(self, grads)
        extra = extra_of_part(extra, functools.partial(without_frozen, self), params)
        params = None if params is None else without_frozen(self, params)
        new = []
        for transform, old in zip(self.transforms, state, strict=True):
            updates, own = updated(transform, updates, old, params, extra)
            new.append(own)
        return with_zeros(updates, grads), tuple(new)

    def frozen(self, params: PyTree) -> PyTree:
        masks = [frozen_mask(transform, params) for transform in self.transforms]
        return jax.tree.map(lambda _, *frozen: any(frozen), params, *masks)

    def takes_extra(self) -> bool:
        return any(map(takes_extra, self.transforms))

    def learning_rates(self, state: Any, params: PyTree) -> PyTree:
        """Return the rates of the last stage that has one for the leaf."""
        moving = without_frozen(self, params)
        rates = [learning_rates(stage, own, moving) for stage, own in self.inner(state)]
        return jax.tree.map(lambda _, *own: _last(own), params, *rates)

    def named_rates(self, state: Any) -> dict[str, Array]:
        rates = [named_rates(stage, own) or None for stage, own in self.inner(state)]
        return _last(rates) or {}

    def inner(self, state: Any) -> Iterable[tuple[GradientTransformation, Any]]:
        return zip(self.transforms, state, strict=True)

    def _arguments(self) -> Iterator[str]:
        return map(show, self.transforms)


class Frozen(Optimizer):
    """Leave the parameters as they are; for use in `ByPath`.

    It has no state, and its updates are zero. As they don't depend on the gradients,
    `jax.jit` computes no gradients of frozen parameters.

    Example:
        >>> frozen = fnn.optimizers.Frozen()
        >>> frozen.update({"w": jax.numpy.ones(1)}, ())
        ({'w': Array([0.], dtype=float32)}, ())
    """

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        return tree.zeros_like(grads), state

    def frozen(self, params: PyTree) -> PyTree:
        return jax.tree.map(lambda _: True, params)


class ByPath(Optimizer):
    """Give each parameter to the optimizer of the first glob that its path matches.

    Each optimizer sees its own leaves only: a `Chain` with `ClipByGlobalNorm` in it clips
    by their norm. `None` stands in the place of the others.

    Args:
        rules: Optimizers, fnn's or Optax's, by glob, as in `fnn.tree`: `"head/*"`, or a
            tuple of globs. Their order counts.

    Raises:
        TypeError: If a key is not a glob, or a value not an optimizer.
        ValueError: If `rules` is empty; from `init` and `update`, if a leaf matches no
            glob, or a rule gets no leaf.

    Example:
        >>> optimizer = fnn.optimizers.ByPath(
        ...     {"head/*": fnn.optimizers.SGD(0.1), "*": fnn.optimizers.Frozen()}
        ... )
        >>> ones = jax.numpy.ones(1)
        >>> params = {"body": {"kernel": ones}, "head": {"kernel": ones}}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates["body"]["kernel"], updates["head"]["kernel"]
        (Array([0.], dtype=float32), Array([-0.1], dtype=float32))
    """

    rules: tuple[tuple[Pattern, GradientTransformation], ...]

    def __init__(self, rules: Mapping[Any, Any]) -> None:
        self._set(rules=rules)
        self.__post_init__()

    def __post_init__(self) -> None:
        given: Any = self.rules
        # Held as pairs: the first glob that matches wins, so their order has a meaning.
        rules: Any = tuple(given.items()) if isinstance(given, Mapping) else given
        if not isinstance(rules, tuple) or not rules:
            raise ValueError(
                f"ByPath needs optimizers by glob, such as "
                f'{{"head/*": fnn.optimizers.Adam(1e-3), "*": fnn.optimizers.Frozen()}}; '
                f"got {given!r}"
            )
        self._set(rules=tuple((as_pattern("a path", on), rule) for on, rule in rules))
        for pattern, optimizer in self.rules:
            check_optimizer(optimizer, f"ByPath, for {pattern!r},")

    def init(self, params: Params) -> Any:
        parts = self._parts(params, params)
        optimizers = [optimizer for _, optimizer in self.rules]
        return tuple(o.init(part) for o, part in zip(optimizers, parts, strict=True))

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        own_grads = self._parts(grads, grads)
        own_params = [None] * len(self.rules)
        if params is not None:
            own_params = self._parts(grads, params)
        results = []
        parts = zip(self.rules, own_grads, state, own_params, strict=True)
        for i, ((_, optimizer), own, old, weights) in enumerate(parts):

            def take(grads: PyTree, i: int = i) -> PyTree:
                return self._parts(grads, grads)[i]

            known = extra_of_part(extra, take, params)
            results.append(updated(optimizer, own, old, weights, known))
        updates, states = zip(*results, strict=True)
        return functools.reduce(tree.merge, updates), states

    def frozen(self, params: PyTree) -> PyTree:
        parts = self._parts(params, params)
        optimizers = [optimizer for _, optimizer in self.rules]
        return functools.reduce(tree.merge, map(frozen_mask, optimizers, parts))

    def takes_extra(self) -> bool:
        return any(takes_extra(optimizer) for _, optimizer in self.rules)

    def learning_rates(self, state: Any, params: PyTree) -> PyTree:
        optimizers = [optimizer for _, optimizer in self.rules]
        parts = self._parts(params, params)
        return functools.reduce(tree.merge, map(learning_rates, optimizers, state, parts))

    def named_rates(self, state: Any) -> dict[str, Array]:
        """Return the rates of all rules, each by its glob where there are several."""
        found = {
            ",".join((pattern,) if isinstance(pattern, str) else pattern): rates
            for (pattern, optimizer), own in zip(self.rules, state, strict=True)
            if (rates := named_rates(optimizer, own))
        }
        if len(found) == 1:
            return next(iter(found.values()))
        return {
            f"[{glob}]{name}": rate
            for glob, rates in found.items()
            for name, rate in rates.items()
        }

    def inner(self, state: Any) -> Iterable[tuple[GradientTransformation, Any]]:
        return zip([optimizer for _, optimizer in self.rules], state, strict=True)

    def _parts(self, like: PyTree, params: PyTree) -> list[PyTree]:
        """Return `params` once for each rule, with its own leaves and no others."""
        owners = self._owners(like)
        masks = [
            jax.tree.map(lambda owner, rule=i: owner == rule, owners)
            for i in range(len(self.rules))
        ]
        return [keep(mask, params) for mask in masks]

    def _owners(self, params: PyTree) -> PyTree:
        """Return the number of the rule of every leaf, those counted that are out."""
        owners = tree.map_with_path(lambda path, _: self._owner(path), with_places(params))
        paths = tree.flatten(owners)
        if ownerless := [path for path, owner in paths.items() if owner == NOBODY]:
            raise ValueError(
                f"ByPath has no optimizer for {ownerless}: none of the globs "
                f'{[on for on, _ in self.rules]} matches; add "*" as the last'
            )
        for i, (pattern, _) in enumerate(self.rules):
            if paths and i not in paths.values():
                from fnn.suggestions import hint_on_paths

                raise ValueError(
                    f"ByPath's {pattern!r} gets no leaf: it matches none, or only what the "
                    f"globs before it have taken{hint_on_paths(pattern, list(paths))}"
                )
        return owners

    def _owner(self, path: str) -> int:
        for i, (pattern, _) in enumerate(self.rules):
            globs = (pattern,) if isinstance(pattern, str) else pattern
            if any(fnmatch.fnmatchcase(path, glob) for glob in globs):
                return i
        return NOBODY

    def _arguments(self) -> Iterator[str]:
        yield show(dict(self.rules))
