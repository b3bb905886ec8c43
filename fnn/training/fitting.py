"""`fit`: prepare, run the epochs, finish."""

import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.checkpoint import Checkpointer
from fnn.layers.agreement import check_agreement
from fnn.layers.base import Layer
from fnn.layers.running import initial, located
from fnn.platforms import compiled, options_for_one_run
from fnn.sharding import Layout, Replicated, Strategy
from fnn.sharding.processes import agreed, is_first
from fnn.training.accumulation import check_divisible
from fnn.training.early_stopping import EarlyStopping, StoppingState
from fnn.training.evaluation import (
    check_metrics,
    example_spec,
    held_out,
    make_validation,
    means_by_chunks,
)
from fnn.training.history import (
    Callback,
    EpochEnd,
    Figures,
    History,
    columns,
    optimizer_figures,
)
from fnn.training.objective import (
    Augmentation,
    Metric,
    Supervised,
    check_callable,
    supervised,
)
from fnn.training.per_example_gradient import AnyGradient, PerExampleGradient
from fnn.training.progress import Display, make_display
from fnn.training.running.nonfinite import Trouble, find_trouble
from fnn.training.running.resumption import Position, Save, resumable, save_good
from fnn.training.running.runner import (
    Carry,
    Piece,
    Runner,
    choose_loop,
    means,
    restart,
    start,
)
from fnn.training.running.sources import Source, source_of
from fnn.training.step import Step, TrainState, make_step
from fnn.types import Array, GradientTransformation, Key, Params, PyTree, State
from fnn.values import show


class FitResult(NamedTuple):
    """The result of `fit`: parameters, state, and the history of every epoch."""

    params: Params
    state: State
    history: History


def fit(
    model: Layer,
    loss: Metric,
    optimizer: GradientTransformation,
    data: Any,
    *,
    key: Key,
    epochs: int,
    batch_size: int | None = None,
    validation: Any = None,
    metrics: Mapping[str, Metric] | None = None,
    regularizer: Callable[[Params], Array] | None = None,
    augment: Augmentation | None = None,
    gradient: AnyGradient | None = None,
    accumulate: int = 1,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Checkpointer | str | Path | None = None,
    mesh: jax.sharding.Mesh | None = None,
    sharding: Strategy | None = None,
    params: Params | None = None,
    state: State | None = None,
    progress: bool = True,
) -> FitResult:
    """Train a model by mini-batches, shuffled anew in every epoch.

    The data is put on the device once. Every example is used once an epoch: if the batch
    size does not divide their number, the last batch is filled up with examples of weight
    0. The same arguments give the same bits.

    An interrupt (Ctrl-C) ends training; `fit` returns what was trained so far. A loss or
    parameters that are not finite end it too, with a `RuntimeWarning` that says when and
    where; `fit` then returns the last parameters whose loss was finite. With
    `early_stopping`, it always returns the best by its metric, if an epoch has ended.

    A batch of a loader in which all weights are 0 takes no step and is not counted, unless
    there is a `gradient`: then it takes its step, as private training needs it.

    With `checkpoint`, call `fit` again with the same arguments after a kill: it resumes,
    also in the middle of an epoch, and ends with identical bits. After an interrupt it
    saves before it returns.

    Args:
        model: The model of one example.
        loss: A function of the output and the target of one example, ().
        optimizer: fnn's or Optax's.
        data: Inputs and targets, (x, y), each an array or a pytree of arrays with a leading
            axis over the examples. Or `fnn.data.Streamed(x, y)`, which is read in chunks.
            Or an iterable of batches `(x, y)` or `(x, y, weights)`, such as a PyTorch
            `DataLoader`, a Grain or a TensorFlow data set, of which one pass is an epoch;
            or a function from the number of an epoch, from 0, to such an iterable. Batches
            are read ahead in a thread. Worker processes must not be forked, as JAX has
            threads: give PyTorch's `multiprocessing_context="forkserver"`.
        key: A typed key; initial values, orders and all noise are made from it.
        epochs: Number of passes over the data.
        batch_size: Number of examples in a step: 1 for stochastic gradient descent, all
            for batch gradient descent.
        validation: Inputs and targets to evaluate on after every epoch.
        metrics: Further functions like `loss` to report, by name.
        regularizer: A function of the parameters, (), added to the mean loss.
        augment: Changes one input at random in training: `(key, x) -> x`; or a
            `fnn.data.BatchAugmentation`, such as `fnn.data.Mixup`, which changes a
            batch: `(key, x, y) -> (x, y)`.
        gradient: A transform of the loss of one example, in place of the gradient of the
            mean loss; see `make_step`.
        accumulate: Number of microbatches into which a batch is split to save memory; see
            `make_step`.
        early_stopping: When to stop; `fit` returns the best by its metric, whatever ended
            training.
        callbacks: Functions that are called with an `EpochEnd` after every epoch. Training
            stops if one returns True, also NumPy's or JAX's. After a kill, an epoch may
            come twice.
        checkpoint: A folder, or a `fnn.checkpoint.Checkpointer` of one, to save training
            to after every epoch, at an interrupt and, in long epochs, every half minute.
        mesh: Devices that share the work, such as `fnn.sharding.make_mesh()`; batches are
            split among those along its axis `data`.
        sharding: Where the parameters are on the mesh: on every device by default,
            `fnn.sharding.FullySharded()`, or as a `fnn.sharding.ByPath` says.
        params: Parameters to start from, instead of `model.init`'s.
        state: State to start from, together with `params`.
        progress: Whether to print how training goes.

    Returns:
        `(params, state, history)`. The history has an array, (epochs,), for `"loss"`,
        every metric, `"penalty"` with a regularizer, each of these but the penalty with
        `"val_"` before it with validation data, `"clipped"` and `"gradient_norm"` with a
        `gradient`, `"learning_rate"` if the optimizer's state holds it (one for each of
        several rates, by its glob of `ByPath`, `"learning_rate[head/*]"`, or
        `"learning_rate[others]"` of `Muon`), `"skipped"`, the number of steps that a
        `DynamicLossScale` has skipped so far, and `"seconds"`. Training figures are
        averages over the epoch, while the parameters change.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If data is empty, differs in length or is not finite, if the model,
            the loss or a metric refuses it, if there are fewer examples than
            `batch_size`, if `accumulate` does not divide it, if `early_stopping` watches
            a metric that the history won't have, or if the checkpoint is of another
            training.
        OSError: If the folder for checkpoints can't be written to.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 64)[:, None]
        >>> params, state, history = fnn.fit(
        ...     fnn.Sequential(fnn.Dense(16), jax.nn.tanh, fnn.Dense(1)),
        ...     fnn.losses.squared_error,
        ...     fnn.optimizers.Adam(0.01),
        ...     (x, x**2),
        ...     key=jax.random.key(0),
        ...     epochs=100,
        ...     batch_size=16,
        ...     progress=False,
        ... )
        >>> bool(history["loss"][-1] < 0.01 * history["loss"][0])
        True
    """
    # Prepare: what can be wrong is found here, before the first step.
    objective = supervised(
        model, loss, metrics=metrics, regularizer=regularizer, augment=augment
    )
    layout = _layout(mesh, sharding)
    step = make_step(
        objective, optimizer, gradient=gradient, accumulate=accumulate, layout=layout
    )
    checks.typed_key(key, "fit")
    _check_extras(early_stopping, callbacks, checkpoint)
    epochs = checks.positive_integer("epochs", epochs)
    init_key, order_key, step_key = jax.random.split(key, 3)
    source = source_of(data, batch_size, epochs, order_key, layout)
    _check_microbatches(checks.leading_length(source.batch, "a batch"), accumulate, layout)
    example = example_spec(source.sample[0])
    leaves, structure = jax.tree.flatten(example)

    def init(model: Layer) -> tuple[Params, State]:
        return _init(model, layout, structure, tuple(leaves), init_key)

    params, state = starting_values(objective, params, state, example, init)
    named = objective.all_metrics
    check_metrics(model, params, state, source.sample, named, "data", source.rows)
    examples = None if validation is None else held_out(validation, "validation", layout)
    compute_means = functools.partial(means_by_chunks, layout=layout)
    validate = make_validation(
        objective, params, state, examples, batch_size, compute_means
    )
    train_state = _create(step, params, state, step_key)
    runner, metric_specs = _make_runner(step, train_state, source.batch)
    if early_stopping is not None:
        validated = [f"val_{name}" for name in named if examples is not None]
        known = (*metric_specs, *validated)
        checks.one_of("early_stopping.metric", early_stopping.metric, known)
    stopping = early_stopping.init((params, state)) if early_stopping else None
    beginning = Position(start(train_state, metric_specs), stopping)
    if isinstance(checkpoint, str | Path):
        checkpoint = Checkpointer(checkpoint)
    identity = {
        "model": model,
        "optimizer": optimizer,
        "objective": objective,
        "gradient": gradient,
        "early_stopping": early_stopping,
        "data": source,
    }

    # Run.
    with (
        make_display(progress and is_first(), epochs, source.batches) as display,
        resumable(checkpoint, identity, key, beginning) as (position, save),
    ):
        training = _Training(
            position=position,
            source=source,
            runner=runner,
            epochs=epochs,
            validate=validate,
            early_stopping=early_stopping,
            callbacks=callbacks,
            display=display,
            save=save,
        )
        trouble = training.run()

    # Finish.
    if trouble is not None:
        file = save_good(checkpoint, trouble.good) if checkpoint else ""
        _warn(trouble, training.position, early_stopping, file)
    return _result(training.position, trouble)


def _check_extras(early_stopping: Any, callbacks: Any, checkpoint: Any) -> None:
    """Raise an error if something that training is given beside the data is invalid."""
    if not isinstance(early_stopping, EarlyStopping | None):
        raise TypeError(
            f"early_stopping must be a fnn.EarlyStopping, such as "
            f"fnn.EarlyStopping(patience=5); got {show(early_stopping)}"
        )
    if not isinstance(callbacks, list | tuple):
        raise TypeError(
            f"callbacks must be a list of functions, got {checks.describe(callbacks)}"
        )
    for i, callback in enumerate(callbacks):
        check_callable(callback, f"callbacks[{i}]", "an EpochEnd")
    path = isinstance(checkpoint, str | Path | None)
    if not path and not all(hasattr(checkpoint, name) for name in ("open", "restore")):
        raise TypeError(
            f"checkpoint must be a folder, or a fnn.checkpoint.Checkpointer of one; "
            f"got {checks.describe(checkpoint)}"
        )


def _layout(mesh: jax.sharding.Mesh | None, sharding: Strategy | None) -> Layout | None:
    if mesh is not None:
        return Layout(mesh, Replicated() if sharding is None else sharding)
    if sharding is not None:
        raise ValueError(
            f"sharding={sharding!r} needs a mesh, such as mesh=fnn.sharding.make_mesh()"
        )
    return None


def _check_microbatches(size: int, accumulate: int, layout: Layout | None) -> None:
    """Raise unless a batch can be split into microbatches, and these over devices."""
    if accumulate > 1:
        check_divisible(size, accumulate)
    if layout is not None:
        layout.check_divides(size // accumulate, "the size of a microbatch")


def starting_values(
    objective: Any,
    params: Params | None,
    state: State | None,
    example: PyTree,
    init: Callable[[Layer], tuple[Params, State]],
) -> tuple[Params, State]:
    """Return the parameters and the state that training starts from.

    They are those that were given, if they fit the model, or else what `init` makes.

    Args:
        objective: The result of `supervised`; if there are parameters, any objective.
        params: Parameters that were given, or None.
        state: State that was given, or None.
        example: The spec of one input.
        init: Makes initial values of a model.
    """
    if params is None:
        if state:
            raise ValueError("state goes together with params, which are not given")
        with located(None, objective.model, example, init=True):
            params, state = init(objective.model)
    elif isinstance(objective, Supervised):
        check_agreement(objective.model, params, {} if state is None else state, example)
    params, state = jax.tree.map(jnp.asarray, (params, state or {}))
    return params, state


@functools.partial(compiled, options=options_for_one_run, static_argnums=(0, 1, 2, 3))
def _init(
    model: Layer, layout: Layout | None, structure: Any, leaves: tuple[Any, ...], key: Key
) -> tuple[Params, State]:
    """Return initial values, computed where they belong."""
    params, state = initial(model, key, jax.tree.unflatten(structure, leaves))
    if layout is not None:
        params, state = layout.constrain((params, state), params)
    return params, state


def _create(step: Step, params: Params, state: State, key: Key) -> TrainState:
    """Return the state before the first step, each part of it where it belongs."""
    layout = step.layout
    if layout is not None:
        params, state, key = layout.place((params, state, key), params)
    # Not `step` itself: the same program serves all objectives.
    gradient = step.gradient if isinstance(step.gradient, PerExampleGradient) else None
    return _created(step.optimizer, gradient, layout, params, state, key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _created(
    optimizer: GradientTransformation,
    gradient: PerExampleGradient | None,
    layout: Layout | None,
    params: Params,
    state: State,
    key: Key,
) -> TrainState:
    train_state = TrainState.create(params, state, optimizer, key=key, gradient=gradient)
    return train_state if layout is None else layout.constrain(train_state, params)


def _make_runner(
    step: Step, train_state: TrainState, batch: PyTree
) -> tuple[Runner, dict[str, Any]]:
    """Trace the step once; return its runner, and the specs of its metrics."""
    trace = jax.make_jaxpr(step, return_shape=True)
    jaxpr, (_, metric_specs) = trace(train_state, batch)
    with step.layout.tracing() if step.layout else contextlib.nullcontext():
        loop = choose_loop(jaxpr.jaxpr)
    return Runner(step, loop), metric_specs


@dataclasses.dataclass
class _Training:
    """Epochs from a position on; `run` changes `position` and nothing else."""

    position: Position
    source: Source
    runner: Runner
    epochs: int
    validate: Callable[[TrainState], dict[str, Array]]
    early_stopping: EarlyStopping | None
    callbacks: Sequence[Callback]
    display: Display
    save: Save

    def run(self) -> Trouble | None:
        """Train to the end, or until something stops it; return what went wrong."""
        previous = None  # the step that went wrong may be the last of the piece before
        try:
            while self.position.epoch < self.epochs and not self.position.stop:
                epoch, first = self.position.epoch, self.position.batch
                began = time.perf_counter() - self.position.seconds
                # Closed, so that the thread that reads ahead ends whatever happens.
                with contextlib.closing(self.source.epoch(epoch, first)) as items:
                    # No variable has the carry: it would live as long as the epoch.
                    for piece in self.runner.run(items, self.position.carry):
                        if not piece.good:
                            return find_trouble(self.runner.step, previous, piece)
                        previous = piece
                        self._finish_piece(piece, time.perf_counter() - began)
                self._finish_epoch(began)
        except KeyboardInterrupt:
            if jax.process_count() > 1:  # the other processes were not interrupted
                raise
            steps = int(self.position.carry.train_state.step)
            self.display.say(f"interrupted: returning what was trained in {steps} steps")
            self.save(self.position, now=True)
        return None

    def _finish_piece(self, piece: Piece, seconds: float) -> None:
        """Move on, report, and save if it is time."""
        self.position = self.position._replace(
            carry=piece.after, batch=piece.end, seconds=seconds
        )
        figures = jax.device_get(_means(piece.after))
        self.display.advance(self.position.epoch, piece.end, figures)
        self.save(self.position)

    def _finish_epoch(self, began: float) -> None:
        """Evaluate, report, and go on to the next epoch."""
        carry, stopping, epoch = self.position[:3]
        row = self._row(carry) | {"seconds": time.perf_counter() - began}
        train_state = carry.train_state
        stop = False
        if self.early_stopping is not None and stopping is not None:
            value = row[self.early_stopping.metric]
            stopping = self.early_stopping.update(stopping, value, train_state[:2])
            stop = bool(stopping.stop)
        end = EpochEnd(epoch, int(train_state.step), dict(row), *train_state[:2])
        stops = [checks.is_true(callback(end)) for callback in self.callbacks]
        # Assigned last: if this is interrupted, the end of the epoch is repeated.
        self.position = Position(
            restart(carry),
            stopping,
            epoch + 1,
            rows=(*self.position.rows, row),
            stop=stop or agreed(any(stops)),
        )
        self.display.epoch(epoch, row, float(carry.totals["loss"].weight[0]))
        self.save(self.position)

    def _row(self, carry: Carry) -> Figures:
        """Return the figures of an epoch; the host waits here for the evaluation."""
        figures = _means(carry) | self.validate(carry.train_state)
        # `jit` has sorted the names; a reader looks at the losses first.
        names = sorted(figures, key=lambda n: (n.startswith("val_"), "loss" not in n))
        values = jax.device_get(figures)
        row = {name: float(values[name]) for name in names}
        optimizer = self.runner.step.optimizer
        held = optimizer_figures(optimizer, carry.train_state.opt_state)
        row |= {name: value.item() for name, value in held.items()}
        return row


_means = jax.jit(means)


def _result(position: Position, trouble: Trouble | None) -> FitResult:
    train_state = trouble.good if trouble else position.carry.train_state
    params, state = train_state.params, train_state.state
    if best := _best(position):
        params, state = best.params
    history = columns(position.rows)
    return FitResult(params, state, history)


def _best(position: Position) -> StoppingState | None:
    """Return the best by the metric of `early_stopping`, if an epoch has ended."""
    stopping = position.stopping
    return stopping if stopping is not None and np.isfinite(stopping.best) else None


def _warn(
    trouble: Trouble, position: Position, stopping: EarlyStopping | None, file: str
) -> None:
    returned = "the last whose loss was finite"
    saved = f" and are in {file}" if file else ""
    if stopping is not None and (best := _best(position)):
        returned = f"the best by {stopping.metric!r}, {float(best.best):.4g}"
        saved = f"; the last whose loss was finite are in {file}" if file else ""
    warnings.warn(
        f"training stopped in step {trouble.batch} of epoch {position.epoch} (both counted "
        f"from 0): {trouble}; the parameters returned are {returned}{saved}; "
        f"try a lower learning rate, or fnn.optimizers.ClipByGlobalNorm",
        RuntimeWarning,
        stacklevel=3,
    )
