"""`fit`: train a model, from the data to the best parameters."""

import contextlib
import functools
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
from fnn.sharding.processes import is_first
from fnn.training.accumulation import check_divisible
from fnn.training.early_stopping import EarlyStopping, StoppingState
from fnn.training.epochs import Position, Training
from fnn.training.evaluation import (
    EVALUATION_BATCH_SIZE,
    check_metrics,
    example_spec,
    means_on_device,
)
from fnn.training.history import Callback, History, columns
from fnn.training.loop import choose_loop, start
from fnn.training.objective import (
    Augmentation,
    Metric,
    PerExampleGradient,
    supervised,
)
from fnn.training.placing import check_callable
from fnn.training.progress import make_display
from fnn.training.running.nonfinite import Trouble
from fnn.training.running.resumption import resumable, save_good
from fnn.training.running.runner import Runner
from fnn.training.running.sources import Source, source_of
from fnn.training.step import Step, TrainState, make_step
from fnn.training.validation import held_out
from fnn.types import Array, GradientTransformation, Key, Params, State
from fnn.values import show


class FitResult(NamedTuple):
    """What `fit` returns: parameters, state, and the history of every epoch."""

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
    gradient: PerExampleGradient | None = None,
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

    The data is put on the device once. Every example is used once an epoch: where the
    batch size does not divide their number, the last batch is filled up with examples of
    weight 0. The same arguments give the same bits.

    An interrupt (Ctrl-C) ends training and returns what was trained so far. So do a loss
    or parameters that are not finite, with a `RuntimeWarning` that says when and where,
    and then the parameters are the last ones whose loss was finite. With `early_stopping`,
    what was best by its metric is returned in every case, if an epoch has ended.

    A batch of a loader in which all weights are 0 takes no step and counts nowhere, unless
    there is a `gradient`: then it takes its step, as private training needs it.

    With `checkpoint`, training that was killed goes on where it was when `fit` is called
    again with the same arguments, in the middle of an epoch too, and ends with the same
    bits as if nothing had happened. An interrupt saves what was trained before it returns.

    Args:
        model: For one example.
        loss: Of the output and the target of one example, ().
        optimizer: fnn's or Optax's.
        data: Inputs and targets, (x, y), each an array or a pytree of arrays with a leading
            axis over the examples. Or `fnn.data.Streamed(x, y)`, which is read piece by
            piece. Or an iterable of batches `(x, y)` or `(x, y, weights)`, such as a
            PyTorch `DataLoader`, a Grain or a TensorFlow data set, one pass being an
            epoch; or a function from the number of an epoch, from 0, to one. Batches are
            read ahead in a thread. Worker processes must not be forked, as JAX has
            threads: give PyTorch's `multiprocessing_context="forkserver"`.
        key: A typed key; initial values, orders and all noise are made from it.
        epochs: How often every example is used.
        batch_size: How many examples make a step: 1 for stochastic gradient descent, all
            for batch gradient descent.
        validation: Inputs and targets that are evaluated after every epoch.
        metrics: Further functions like `loss`, by name, to be reported.
        regularizer: A function of the parameters, (), added to the mean loss.
        augment: Changes one input at random in training: `(key, x) -> x`; or a
            `fnn.data.BatchAugmentation`, such as `fnn.data.Mixup`, which changes a
            batch: `(key, x, y) -> (x, y)`.
        gradient: In place of the gradient of the mean loss, a transform of the loss of
            one example; see `make_step`.
        accumulate: Into how many microbatches a batch is split to save memory; see
            `make_step`.
        early_stopping: When to stop; what was best by its metric is returned, whatever
            ended training.
        callbacks: Functions that are called with an `EpochEnd` after every epoch; training
            stops where one returns True, or NumPy's or JAX's. After a kill, an epoch may
            come twice.
        checkpoint: A folder, or a `fnn.checkpoint.Checkpointer` of one, where training is
            saved after every epoch, at an interrupt and, in long epochs, every half minute.
        mesh: Devices that share the work, such as `fnn.sharding.make_mesh()`; batches are
            split among those along its axis `data`.
        sharding: How the parameters lie on the mesh: on every device by default,
            `fnn.sharding.FullySharded()`, or as a `fnn.sharding.ByPath` says.
        params: Parameters to start from, instead of `model.init`'s.
        state: State to start from, together with `params`.
        progress: Whether to print how training goes.

    Returns:
        `(params, state, history)`. The history has an array, (epochs,), for `"loss"`,
        every metric, `"penalty"` where there is a regularizer, each of these but the
        penalty with `"val_"` before it where there is validation data, `"clipped"` and
        `"gradient_norm"` where there is a transform of gradients, `"learning_rate"` where
        the optimizer's state holds it (of several rates one for each, by its glob of
        `ByPath`, `"learning_rate[head/*]"`, or `"learning_rate[others]"` of `Muon`),
        `"skipped"`, how many steps a `DynamicLossScale`
        has skipped by then, and `"seconds"`. Training figures are averages over the
        epoch, while the parameters change.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If data is empty, differs in length or is not finite, if the model,
            the loss or a metric refuses it, if there are fewer examples than
            `batch_size`, if `accumulate` does not divide it, if `early_stopping` watches
            what the history won't have, or if the checkpoint is of another training.
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
    objective = supervised(
        model, loss, metrics=metrics, regularizer=regularizer, augment=augment
    )
    layout = _layout(mesh, sharding)
    step = make_step(
        objective, optimizer, gradient=gradient, accumulate=accumulate, layout=layout
    )
    checks.typed_key(key, "fit")
    _check_extras(early_stopping, callbacks, checkpoint, params, state)
    epochs = checks.positive_integer("epochs", epochs)
    source = source_of(data, batch_size, epochs, layout)
    size = checks.leading_length(source.batch, "a batch")
    check_divisible(size, accumulate)
    if layout is not None:
        layout.check_divides(size // accumulate, "the size of a microbatch")
    measured = {"loss": loss, **(metrics or {})}

    init_key, order_key, step_key = jax.random.split(key, 3)
    example = example_spec(source.sample[0])
    if params is None:
        leaves, structure = jax.tree.flatten(example)
        with located(None, model, example, init=True):
            params, state = _init(model, layout, structure, tuple(leaves), init_key)
    else:
        check_agreement(model, params, {} if state is None else state, example)
    params, state = jax.tree.map(jnp.asarray, (params, state or {}))
    check_metrics(model, params, state, source.sample, measured, "data", source.rows)
    validate = _validation(model, params, state, validation, measured, batch_size, layout)
    train_state = _create(optimizer, layout, params, state, step_key)
    runner, reported = _prepare(step, train_state, source, order_key)
    if early_stopping is not None:
        later = [f"val_{name}" for name in measured if validation is not None]
        checks.one_of("early_stopping.metric", early_stopping.metric, (*reported, *later))
    stopping = early_stopping.init((params, state)) if early_stopping else None
    position = Position(start(train_state, reported), stopping)

    if isinstance(checkpoint, str | Path):
        checkpoint = Checkpointer(checkpoint)
    described = {
        "model": model,
        "optimizer": optimizer,
        "objective": objective,
        "gradient": gradient,
        "early_stopping": early_stopping,
        "data": source,
    }
    with (
        make_display(progress and is_first(), epochs, source.steps) as display,
        resumable(checkpoint, described, key, position) as (position, save),
    ):
        training = Training(
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
    if trouble is not None:
        file = save_good(checkpoint, trouble.good) if checkpoint else ""
        _warn(trouble, training.position, early_stopping, file)
    return _result(training.position, trouble)


def _check_extras(
    early_stopping: Any, callbacks: Any, checkpoint: Any, params: Any, state: Any
) -> None:
    """Raise what is wrong with what training may be given beside the data."""
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
    if params is None and state:
        raise ValueError("state goes together with params, which are not given")


def _layout(mesh: jax.sharding.Mesh | None, sharding: Strategy | None) -> Layout | None:
    if mesh is not None:
        return Layout(mesh, Replicated() if sharding is None else sharding)
    if sharding is not None:
        raise ValueError(
            f"sharding={sharding!r} needs a mesh, such as mesh=fnn.sharding.make_mesh()"
        )
    return None


@functools.partial(compiled, options=options_for_one_run, static_argnums=(0, 1, 2, 3))
def _init(
    model: Layer, layout: Layout | None, structure: Any, leaves: tuple[Any, ...], key: Key
) -> tuple[Params, State]:
    """Return initial parameters, each computed where it will lie, and state."""
    params, state = initial(model, key, jax.tree.unflatten(structure, leaves))
    if layout is not None:
        params, state = layout.constrain((params, state), params)
    return params, state


def _create(
    optimizer: GradientTransformation,
    layout: Layout | None,
    params: Params,
    state: State,
    key: Key,
) -> TrainState:
    """Return the state before the first step, each part of it where it will lie."""
    if layout is not None:
        params, state, key = layout.place((params, state, key), params)
    return _created(optimizer, layout, params, state, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _created(
    optimizer: GradientTransformation,
    layout: Layout | None,
    params: Params,
    state: State,
    key: Key,
) -> TrainState:
    train_state = TrainState.create(params, state, optimizer, key=key)
    return train_state if layout is None else layout.constrain(train_state, params)


def _validation(
    model: Layer,
    params: Params,
    state: State,
    validation: Any,
    metrics: Mapping[str, Metric],
    batch_size: int | None,
    layout: Layout | None,
) -> Callable[[TrainState], dict[str, Array]]:
    """Check the data for validation; return what evaluates on it."""
    if validation is None:
        return lambda _: {}
    examples = held_out(validation, "validation", layout)
    sample, rows = examples.sample, examples.rows
    check_metrics(model, params, state, sample, metrics, "validation", rows)
    size = max(batch_size or 0, EVALUATION_BATCH_SIZE)

    def validate(train_state: TrainState) -> dict[str, Array]:
        params, state = train_state.params, train_state.state
        means = means_on_device(model, params, state, examples, metrics, size, layout)
        return {f"val_{name}": mean for name, mean in means.items()}

    return validate


def _prepare(
    step: Step, train_state: TrainState, source: Source, order_key: Key
) -> tuple[Runner, dict[str, Any]]:
    """Trace the step once; return what runs it, and the specs of what it reports."""
    trace = jax.make_jaxpr(step, return_shape=True)
    jaxpr, (_, reported) = trace(train_state, source.batch)
    with step.layout.tracing() if step.layout else contextlib.nullcontext():
        loop = choose_loop(jaxpr.jaxpr)
    return Runner(step, loop, order_key), reported


def _result(position: Position, trouble: Trouble | None) -> FitResult:
    train_state = trouble.good if trouble else position.carry.train_state
    params, state = train_state.params, train_state.state
    if best := _best(position):
        params, state = best.params
    history = columns(position.rows)
    return FitResult(params, state, history)


def _best(position: Position) -> StoppingState | None:
    """Return what was best by the metric of `early_stopping`, if an epoch was."""
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
        f"training stopped in step {trouble.step} of epoch {position.epoch} (both counted "
        f"from 0): {trouble}; the parameters returned are {returned}{saved}; "
        f"try a lower learning rate, or fnn.optimizers.ClipByGlobalNorm",
        RuntimeWarning,
        stacklevel=3,
    )
