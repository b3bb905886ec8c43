"""Trials that train together: one compiled call for those of one structure."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.search.setups import Setup, applied
from fnn.search.spaces import Setting, Space
from fnn.training.placing import on_device
from fnn.training.pure_training import train
from fnn.training.step import TrainState
from fnn.types import Array, Key, PyTree
from fnn.values import show

Data: TypeAlias = tuple[PyTree, PyTree]
NOT_TRACED = (jax.errors.ConcretizationTypeError, TypeError)


class Replicates(NamedTuple):
    """Repetitions of each trial, by seed or by fold.

    `keys` has one for each. `data` and `validation` are those of all of them, or, where
    they are `stacked`, have a leading axis over them.
    """

    keys: Key
    data: Data
    validation: Data
    stacked: bool


class Progress(NamedTuple):
    """How far a trial has come: its state for each set of replicates, and its figures."""

    states: tuple[TrainState, ...]
    figures: dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Population:
    """Settings of one setup, and what they are trained on.

    `at_once` is how many networks are trained together at most.
    """

    setup: Setup
    space: Space
    settings: Sequence[Setting]
    replicates: tuple[Replicates, ...]
    batch_size: int
    at_once: int

    @property
    def examples(self) -> int:
        """How many examples an epoch of a trial has."""
        return sum(_examples_of(replicates) for replicates in self.replicates)

    @property
    def traced(self) -> tuple[str, ...]:
        """The names of numbers that can differ in one compiled call."""
        return self._look[0]

    @property
    def reported(self) -> tuple[str, ...]:
        """The names of a history."""
        return self._look[1]

    @functools.cached_property
    def _look(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Trace the first trial, with as many of the numbers as can be."""
        numbers = tuple(name for name, kind in self.space.items() if kind.numeric)
        try:
            return numbers, self._trace(numbers)
        except NOT_TRACED:
            numbers = tuple(name for name in numbers if self._traces(name))
            return numbers, self._trace(numbers)

    def groups(self, trials: Sequence[int]) -> list[list[int]]:
        """Divide trials into chunks that train together.

        All chunks of a group have one length, so that it is compiled once: the last is
        filled up with repetitions.
        """
        groups: dict[Hashable, list[int]] = {}
        for trial in trials:
            groups.setdefault(self._structure(trial), []).append(trial)
        most = max(1, self.at_once // sum(r.keys.shape[0] for r in self.replicates))
        return [chunk for group in groups.values() for chunk in _chunks(group, most)]

    def train(
        self,
        trials: Sequence[int],
        epochs: int,
        before: Sequence[Progress] = (),
        *,
        keep: bool,
    ) -> list[Progress]:
        """Train a chunk for so many epochs more, and return how far each trial has come.

        The states are kept only if they are needed, to go on from there.
        """
        floats = {
            name: jnp.array([self.settings[trial][name] for trial in trials], jnp.float32)
            for name in self.traced
        }
        run = self._compiled(trials[0], epochs, len(trials))
        found = []
        for i, (keys, data, validation, stacked) in enumerate(self.replicates):
            states = (
                _stacked([progress.states[i] for progress in before]) if before else None
            )
            found.append(run(stacked, floats, _again(keys), data, validation, states))
        return [self._of_trial(found, j, keep) for j in range(len(trials))]

    @staticmethod
    def _of_trial(found: Sequence[Any], j: int, keep: bool) -> Progress:
        """Take one trial out of a chunk."""
        kept = found if keep else ()
        states = tuple(jax.tree.map(lambda leaf: _again(leaf)[j], s) for s, _ in kept)
        last = [jax.device_get({k: v[j, :, -1] for k, v in h.items()}) for _, h in found]
        figures = {n: np.concatenate([part[n] for part in last]).tolist() for n in last[0]}
        return Progress(states, figures)

    def _structure(self, trial: int) -> Hashable:
        """Return what trials must share to train together."""
        setting = self.settings[trial]
        return tuple(show(v) for name, v in setting.items() if name not in self.traced)

    @functools.cached_property
    def _programs(self) -> dict[Hashable, Callable[..., Any]]:
        return {}

    def _compiled(self, trial: int, epochs: int, size: int) -> Callable[..., Any]:
        """Return the training of a chunk, of which each structure has one."""
        name = (self._structure(trial), epochs, size)
        if name not in self._programs:
            member = functools.partial(self._member, self.settings[trial], epochs)

            @functools.partial(jax.jit, static_argnums=0)
            def run(stacked: bool, floats: Any, *arguments: Any) -> Any:
                axis = 0 if stacked else None
                replicated = jax.vmap(member, (None, 0, axis, axis, 0))
                together = jax.vmap(replicated, (0, None, None, None, 0), axis_size=size)
                return together(floats, *arguments)

            self._programs[name] = run
        return self._programs[name]

    def _member(
        self,
        setting: Setting,
        epochs: int,
        floats: dict[str, Array],
        key: Key,
        data: Data,
        validation: Data,
        train_state: TrainState | None,
    ) -> Any:
        objective, optimizer = applied(self.setup, setting | floats)
        return train(
            objective,
            optimizer,
            data,
            key=key,
            epochs=epochs,
            batch_size=self.batch_size,
            validation=validation,
            train_state=train_state,
        )

    def _traces(self, name: str) -> bool:
        try:
            self._trace((name,))
        except NOT_TRACED:
            return False
        return True

    def _trace(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Trace the first trial; return the names of its history."""
        keys, data, validation, stacked = self.replicates[0]
        if stacked:
            data, validation = jax.tree.map(lambda leaf: leaf[0], (data, validation))

        # The data is no argument, so that labels out of range are seen.
        def first(floats: dict[str, Array], keys: Key) -> Any:
            key = keys[0]
            return self._member(self.settings[0], 1, floats, key, data, validation, None)

        floats = dict.fromkeys(names, jax.ShapeDtypeStruct((), jnp.float32))
        _, history = jax.eval_shape(first, floats, keys)
        return tuple(history)


def seeded(key: Key, seeds: int, data: Any, validation: Any) -> tuple[Replicates, ...]:
    """Return the replicates of so many seeds, on the same data."""
    seeds = checks.positive_integer("seeds", seeds)
    keys = jax.random.split(checks.typed_key(key, "a search"), seeds)
    data, validation = on_device(data, "data"), on_device(validation, "validation")
    return (Replicates(keys, data, validation, False),)


def _chunks(group: list[int], most: int) -> list[list[int]]:
    count = -(-len(group) // most)
    size = -(-len(group) // count)
    chunks = [group[first : first + size] for first in range(0, len(group), size)]
    return [chunk + [chunk[-1]] * (size - len(chunk)) for chunk in chunks]


def _stacked(states: Sequence[TrainState]) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _examples_of(replicates: Replicates) -> int:
    shape = jax.tree.leaves(replicates.data)[0].shape
    count = replicates.keys.shape[0]
    return count * int(shape[1] if replicates.stacked else shape[0])


def _again(leaf: Array) -> Array:
    """Return an array that, if it has keys, may be used although it has been before."""
    return (
        jax.random.clone(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    )
