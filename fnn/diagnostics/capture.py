"""The output of every layer of a model, and the gradient with respect to it."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from fnn.layers.base import Layer, kind_of
from fnn.layers.batching import batched
from fnn.layers.repetition import Repeat
from fnn.layers.running import observing
from fnn.types import Array, Key, Params, PyTree, State


class Call(NamedTuple):
    """One call of a layer.

    `name` is the layer's path, with the number of the call if there are several. `keys` are
    the names on the way to its parameters. Inside nested `Repeat`s, these have one leading
    axis per `Repeat`, and `copy` is the layer's index along them.
    """

    name: str
    layer: Layer
    keys: tuple[str, ...]
    stacked: int
    copy: int

    def part(self, tree: PyTree) -> PyTree:
        """Return the layer's part of a tree like the model's parameters."""
        part = functools.reduce(lambda node, key: node.get(key, {}), self.keys, tree)
        if not self.stacked:
            return part
        return jax.tree.map(
            lambda a: a.reshape(-1, *a.shape[self.stacked :])[self.copy], part
        )


class Record(NamedTuple):
    """The input and the output of a layer."""

    x: PyTree
    y: PyTree


class Probed(Layer):
    """A model that maps (x, probes) to (y, records), with an entry for each call.

    A probe is added to every array of a layer's output, so the gradient with respect to the
    probe is the gradient with respect to the output. `None` means no probes. Loops over
    layers are unrolled. Layers run inside another layer's own transformation are out of
    reach, and count as part of that layer.

    Example:
        >>> model = fnn.Sequential(fnn.Dense(2), jax.nn.relu)
        >>> x = jax.numpy.ones(3)
        >>> params, state = model.init(jax.random.key(0), x)
        >>> (y, records), _ = Probed(model).apply(params, state, (x, None))
        >>> [record.y.shape for record in records]
        [(2,), (2,), (2,)]
    """

    model: Layer
    listen: Callable[..., None] | None = None

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        x, probes = x
        here = _trace()
        records: list[Record] = []

        def observe(
            path: tuple[str, ...], layer: Layer, _: Params, __: State, x: PyTree, y: PyTree
        ) -> PyTree:
            if _trace() != here:
                return y
            if probes is not None:
                y = _add(y, probes[len(records)])
            records.append(Record(x, y))
            if self.listen is not None:
                self.listen(path, layer)
            return y

        with jax.disable_jit(), observing(observe):
            y, state = self.model.apply(params, state, x, key=key, train=train)
        y = observe((), self.model, params, state, x, y)
        return (y, records), state


def calls_of(
    model: Layer, params: Params, state: State, x: PyTree, key: Key | None
) -> tuple[list[Call | None], list[Record]]:
    """Return the calls of a batch in their order, and the specs of their records.

    Combinators are `None` in the list; the layers inside them are listed instead.
    """
    seen: list[tuple[tuple[str, ...], Layer]] = []
    probed = batched(Probed(model, lambda *call: seen.append(call)))
    apply = functools.partial(probed.apply, train=True)
    (_, records), _ = jax.eval_shape(apply, params, state, (x, None), key=key)
    counts = Counter(path for path, _ in seen)
    above = {path[:i] for path in counts for i in range(len(path))}
    times = {path: layer.times for path, layer in seen if isinstance(layer, Repeat)}
    so_far: Counter[tuple[str, ...]] = Counter()
    calls: list[Call | None] = []
    for path, layer in seen:
        index, count = so_far[path], counts[path]
        so_far[path] += 1
        repeats = [times[path[:i]] for i in range(len(path)) if path[:i] in times]
        name = "/".join(path) or kind_of(layer)
        name = f"{name}[{index}]" if count > 1 else name
        copy = index * math.prod(repeats) // count
        call = Call(name, layer, path, len(repeats), copy)
        calls.append(None if path in above else call)
    return calls, records


def probes_like(records: Iterable[Record]) -> list[list[Array]]:
    """Return zeros to add to the layers' outputs."""
    return [
        [jnp.zeros(leaf.shape, leaf.dtype) for leaf in floating_leaves(record.y)]
        for record in records
    ]


def floating_leaves(values: PyTree) -> list[Array]:
    """Return the floating-point leaves."""
    return [a for a in jax.tree.leaves(values) if jnp.issubdtype(a.dtype, jnp.floating)]


def _add(y: PyTree, probe: list[Array]) -> PyTree:
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, y))
    rest = iter(probe)
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    pairs = zip(floating, leaves, strict=True)
    parts = [leaf + next(rest) if f else leaf for f, leaf in pairs]
    return jax.tree.unflatten(structure, parts)


def _trace() -> Any:
    """Return an object that identifies the current transformation, such as `vmap`."""
    return get_opaque_trace_state(convention="flax")
