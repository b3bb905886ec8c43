"""`fit`: train a model on data that fits into the memory of the device."""

import functools
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.layers.base import Layer
from fnn.optimizers.base import current_learning_rate, skipped_steps
from fnn.training import loop as loops
from fnn.training.accumulation import check_divisible
from fnn.training.evaluation import check_metrics, means_on_device
from fnn.training.inputs import on_device
from fnn.training.objective import (
    Augmentation,
    Metric,
    PerExampleGradient,
    supervised,
)
from fnn.training.progress import Display, make_display
from fnn.training.step import Step, TrainState, make_step
from fnn.types import Array, GradientTransformation, Key, NDArray, Params, PyTree, State

EVALUATION_BATCH_SIZE = 256

History: TypeAlias = dict[str, NDArray]


class FitResult(NamedTuple):
    """What `fit` returns: parameters, state, and the history of every epoch."""

    params: Params
    state: State
    history: History


def fit(
    model: Layer,
    loss: Metric,
    optimizer: GradientTransformation,
    data: tuple[PyTree, PyTree],
    *,
    key: Key,
    epochs: int,
    batch_size: int,
    validation: tuple[PyTree, PyTree] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    regularizer: Callable[[Params], Array] | None = None,
    augment: Augmentation | None = None,
    gradient: PerExampleGradient | None = None,
    accumulate: int = 1,
    params: Params | None = None,
    state: State | None = None,
    progress: bool = True,
) -> FitResult:
    """Train a model by mini-batches, shuffled anew in every epoch.

    The data is put on the device once. Every example is used once an epoch: where the
    batch size does not divide their number, the last batch is filled up with examples of
    weight 0. The same arguments give the same bits.

    An interrupt (Ctrl-C) ends training and returns what was trained so far. So does a
    loss that is not finite, with a `RuntimeWarning` that says when, and then the
    parameters are the last ones whose loss was finite.

    Args:
        model: For one example.
        loss: Of the output and the target of one example, ().
        optimizer: fnn's or Optax's.
        data: Inputs and targets, each an array or a pytree of arrays with a leading axis
            over the examples.
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
        params: Parameters to start from, instead of `model.init`'s.
        state: State to start from, together with `params`.
        progress: Whether to print how training goes.

    Returns:
        `(params, state, history)`. The history has an array, (epochs,), for `"loss"`,
        every metric, `"penalty"` where there is a regularizer, each of these but the
        penalty with `"val_"` before it where there is validation data, `"clipped"` and
        `"gradient_norm"` where there is a transform of gradients, `"learning_rate"` where
        the optimizer's state holds it, `"skipped"`, how many steps a `DynamicLossScale`
        has skipped by then, and `"seconds"`. Training figures are averages over the
        epoch, while the parameters change.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If data is empty, differs in length or is not finite, if the model,
            the loss or a metric refuses it, if there are fewer examples than
            `batch_size`, or if `accumulate` does not divide it.

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
    metrics = dict(metrics or {})
    objective = supervised(
        model, loss, metrics=metrics, regularizer=regularizer, augment=augment
    )
    step = make_step(objective, optimizer, gradient=gradient, accumulate=accumulate)
    checks.typed_key(key, "fit")
    epochs = checks.positive_integer("epochs", epochs)
    dataset = _dataset(data, batch_size)
    check_divisible(dataset.batch_size, step.accumulate)
    measured = {"loss": loss, **metrics}

    init_key, order_key, step_key = jax.random.split(key, 3)
    if params is None:
        example = jax.tree.map(lambda leaf: leaf[0], dataset.arrays[0])
        params, state = _init(model, init_key, example)
    params, state = jax.tree.map(jnp.asarray, (params, state or {}))
    check_metrics(model, params, state, dataset.arrays, measured, "data")
    if validation is not None:
        validation = on_device(validation, "validation")
        check_metrics(model, params, state, validation, measured, "validation")

    def validate(train_state: TrainState) -> dict[str, Array]:
        if validation is None:
            return {}
        params, state = train_state.params, train_state.state
        size = max(batch_size, EVALUATION_BATCH_SIZE)
        means = means_on_device(model, params, state, validation, measured, size)
        return {f"val_{name}": mean for name, mean in means.items()}

    train_state = TrainState.create(params, state, optimizer, key=step_key)
    with make_display(progress, epochs, dataset.steps) as display:
        train_state, rows = _run(
            step, train_state, dataset, order_key, epochs, validate, display
        )
    names = rows[0] if rows else ()
    history = {name: np.array([row[name] for row in rows]) for name in names}
    return FitResult(train_state.params, train_state.state, history)


@functools.partial(jax.jit, static_argnums=0)
def _init(model: Layer, key: Key, example: PyTree) -> tuple[Params, State]:
    return model.init(key, example)


def _run(
    step: Step,
    train_state: TrainState,
    dataset: loops.Dataset,
    order_key: Key,
    epochs: int,
    validate: Callable[[TrainState], dict[str, Array]],
    display: Display,
) -> tuple[TrainState, list[dict[str, float]]]:
    """Run the epochs; return the last train state and a row of figures per epoch."""
    sizes = dataset.examples, dataset.batch_size
    order = loops.shuffled_order(order_key, 0, *sizes)
    loop, reported = _prepare(step, train_state, dataset, order)
    rows: list[dict[str, float]] = []
    previous = None
    try:
        for epoch in range(epochs):
            began = time.perf_counter()
            order = loops.shuffled_order(order_key, epoch, *sizes)
            carry = loops.start(train_state, reported)
            for piece in loops.run_epoch(step, loop, carry, dataset, order):
                if piece.after.bad_step >= 0:
                    _warn_of_bad_loss(epoch, int(piece.after.bad_step))
                    good = loops.last_good(step, loop, dataset, previous, piece)
                    return good, rows
                previous, train_state = piece, piece.after.train_state
                display.advance(epoch, piece.last)
            rows.append(_row(piece.after, dataset.examples, validate, began))
            display.epoch(epoch, rows[-1])
    except KeyboardInterrupt:
        done = int(train_state.step)
        display.say(f"interrupted: returning what was trained in {done} steps")
    return train_state, rows


def _prepare(
    step: Step, train_state: TrainState, dataset: loops.Dataset, order: Array
) -> tuple[loops.Loop, PyTree]:
    """Trace the step once; return the loop that suits it, and what it reports."""
    batch = jax.eval_shape(loops.take_batch, dataset, order, 0)
    trace = jax.make_jaxpr(step, return_shape=True)
    jaxpr, (_, reported) = trace(train_state, batch)
    return loops.choose_loop(jaxpr.jaxpr), reported


def _row(
    carry: loops.Carry,
    examples: int,
    validate: Callable[[TrainState], dict[str, Array]],
    began: float,
) -> dict[str, float]:
    """Return the figures of an epoch; only here the host waits for the device."""
    figures = {name: total / examples for name, total in carry.totals.items()}
    figures |= validate(carry.train_state)
    # JAX has sorted the names; the losses are what one looks at first.
    names = sorted(figures, key=lambda name: (name.startswith("val_"), "loss" not in name))
    values = jax.device_get(figures)
    row = {name: float(values[name]) for name in names}
    rate = current_learning_rate(carry.train_state.opt_state)
    if rate is not None:
        row["learning_rate"] = float(rate)
    skipped = skipped_steps(carry.train_state.opt_state)
    if skipped is not None:
        row["skipped"] = int(skipped)
    return row | {"seconds": time.perf_counter() - began}


def _warn_of_bad_loss(epoch: int, step: int) -> None:
    warnings.warn(
        f"training stopped: the loss was not finite in step {step} of epoch {epoch} "
        f"(both counted from 0); the parameters returned are the last whose loss was "
        f"finite; try a lower learning rate, or fnn.optimizers.ClipByGlobalNorm",
        RuntimeWarning,
        stacklevel=4,
    )


def _dataset(data: Any, batch_size: Any) -> loops.Dataset:
    arrays = on_device(data, "data")
    examples = jax.tree.leaves(arrays)[0].shape[0]
    batch_size = checks.positive_integer("batch_size", batch_size)
    if batch_size > examples:
        raise ValueError(
            f"batch_size must be at most the number of examples, {examples}, "
            f"got {batch_size}"
        )
    return loops.Dataset(arrays, examples, batch_size)
