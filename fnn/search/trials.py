"""Trials that train together: one compiled call for those of one structure."""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.search.setups import Setup, with_setting
from fnn.search.spaces import Setting, Space
from fnn.training.pure_training import train
from fnn.training.step import TrainState
from fnn.types import Array, Key, PyTree
from fnn.values import show

Data: TypeAlias = tuple[PyTree, PyTree]
# Errors of a setup that needs the value of a number, as in `int(values["width"])`.
NOT_TRACED = (jax.errors.ConcretizationTypeError, TypeError)


class Replicates(NamedTuple):
    """Repetitions of each trial, by seed or by fold.

    Attributes:
        keys: One key for each replicate, (replicates,).
        data: Inputs and targets. All replicates share them unless they are `stacked`.
        validation: Inputs and targets to evaluate on, likewise.
        stacked: Whether the arrays have a leading axis over the replicates.
    """

    keys: Key
    data: Data
    validation: Data
    stacked: bool


class TrialState(NamedTuple):
    """A trial between two calls of training.

    Attributes:
        epochs: Number of epochs it has trained for.
        train_states: One for each item of the population's `replicates`, with a leading
            axis over the replicates; empty if training does not go on.
        figures: By name, the last value of the history of each replicate.
    """

    epochs: int
    train_states: tuple[TrainState, ...]
    figures: dict[str, list[float]]


class Population:
    """The trials of a search. Making one traces the training of the first trial.

    Args:
        setup: Objective and optimizer, or a function from a setting to them.
        space: The distributions, which say which names are numbers.
        settings: One for each trial.
        replicates: Seeds, or folds, those of one size stacked.
        batch_size: Number of examples in a step.
        at_once: Largest number of networks to train together.

    Raises:
        TypeError: If `setup` is neither a pair nor a function that returns one.
        ValueError: If `at_once` is not a positive integer, or a path leads nowhere.
        Exception: The errors of the setup and of `train`, raised while tracing.
    """

    def __init__(
        self,
        setup: Setup,
        space: Space,
        settings: Sequence[Setting],
        replicates: tuple[Replicates, ...],
        batch_size: int,
        at_once: int,
    ) -> None:
        self.at_once = checks.positive_integer("at_once", at_once)
        for setting in settings:  # every setting must be valid
            with_setting(setup, setting)
        self.setup, self.space, self.settings = setup, space, settings
        self.replicates, self.batch_size = replicates, batch_size
        self._programs: dict[Hashable, Callable[..., Any]] = {}
        # Names of the numbers that are arguments of the compiled call, and of the history.
        self.traced, self.history_names = self._trace_first()

    @property
    def examples(self) -> int:
        """Number of examples in an epoch of a trial, over all its replicates."""
        return sum(_count_examples(replicates) for replicates in self.replicates)

    def groups(self, trials: Sequence[int]) -> list[list[int]]:
        """Divide trials into chunks that train together.

        All chunks of a structure have one length, so that it compiles once: the last one
        repeats its last trial to fill up.
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
        before: Sequence[TrialState] = (),
        *,
        keep: bool,
    ) -> list[TrialState]:
        """Train a chunk for some more epochs.

        Args:
            trials: Numbers of trials of one structure.
            epochs: Number of epochs to add.
            before: The trials' states so far, in the same order; empty to begin.
            keep: Whether training will go on, so that the train states are needed.

        Returns:
            The trials' states after it, in the same order.
        """
        floats = {
            name: jnp.array([self.settings[trial][name] for trial in trials], jnp.float32)
            for name in self.traced
        }
        run = self._compiled(trials[0], epochs, len(trials))
        found = []
        for i, (keys, data, validation, stacked) in enumerate(self.replicates):
            states = (
                _stacked([state.train_states[i] for state in before]) if before else None
            )
            found.append(run(stacked, floats, _reusable(keys), data, validation, states))
        total = epochs + (before[0].epochs if before else 0)
        return [self._state_of(found, j, total, keep) for j in range(len(trials))]

    @staticmethod
    def _state_of(found: Sequence[Any], j: int, epochs: int, keep: bool) -> TrialState:
        """Return the state of the j-th trial of a chunk."""
        kept = found if keep else ()
        states = tuple(jax.tree.map(lambda leaf: _reusable(leaf)[j], s) for s, _ in kept)
        # Histories have the axes (trials, replicates, epochs).
        last = [jax.device_get({k: v[j, :, -1] for k, v in h.items()}) for _, h in found]
        figures = {n: np.concatenate([part[n] for part in last]).tolist() for n in last[0]}
        return TrialState(epochs, states, figures)

    def _structure(self, trial: int) -> Hashable:
        """Return what trials must share to train together."""
        setting = self.settings[trial]
        return tuple(show(v) for name, v in setting.items() if name not in self.traced)

    def _compiled(self, trial: int, epochs: int, size: int) -> Callable[..., Any]:
        """Return the compiled training of a chunk, one for each structure and length."""
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
        """Train one network: one replicate of one trial."""
        objective, optimizer = with_setting(self.setup, setting | floats)
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

    def _trace_first(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the numbers that can be traced, and of the history."""
        numbers = tuple(name for name, kind in self.space.items() if kind.numeric)
        try:
            return numbers, self._trace(numbers)
        except NOT_TRACED:
            numbers = tuple(name for name in numbers if self._can_trace(name))
            return numbers, self._trace(numbers)

    def _can_trace(self, name: str) -> bool:
        try:
            self._trace((name,))
        except NOT_TRACED:
            return False
        return True

    def _trace(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Trace the first trial with these numbers; return the names of its history."""
        keys, data, validation, stacked = self.replicates[0]
        if stacked:
            data, validation = jax.tree.map(lambda leaf: leaf[0], (data, validation))

        # The data is not an argument, so that `train` sees labels out of range.
        def first(floats: dict[str, Array], keys: Key) -> Any:
            key = keys[0]
            return self._member(self.settings[0], 1, floats, key, data, validation, None)

        floats = dict.fromkeys(names, jax.ShapeDtypeStruct((), jnp.float32))
        _, history = jax.eval_shape(first, floats, keys)
        return tuple(history)


def seed_replicates(
    key: Key, seeds: int, data: Data, validation: Data
) -> tuple[Replicates, ...]:
    """Return replicates that differ in their keys and share the data."""
    keys = jax.random.split(checks.typed_key(key, "a search"), seeds)
    return (Replicates(keys, data, validation, False),)


def _chunks(group: list[int], most: int) -> list[list[int]]:
    """Divide a group into as few chunks of one length as `most` allows."""
    count = -(-len(group) // most)
    size = -(-len(group) // count)
    chunks = [group[first : first + size] for first in range(0, len(group), size)]
    return [chunk + [chunk[-1]] * (size - len(chunk)) for chunk in chunks]


def _stacked(states: Sequence[TrainState]) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _count_examples(replicates: Replicates) -> int:
    shape = jax.tree.leaves(replicates.data)[0].shape
    count = replicates.keys.shape[0]
    return count * int(shape[1] if replicates.stacked else shape[0])


def _reusable(leaf: Array) -> Array:
    """Return the array; if it holds keys, a copy that JAX counts as not yet used."""
    return jax.random.clone(leaf) if checks.is_key(leaf) else leaf
