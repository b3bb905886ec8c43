"""`train`: training as one pure function of arrays, to map and to compile as a whole."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.base import Layer
from fnn.layers.running import initial
from fnn.training.accumulation import check_divisible
from fnn.training.evaluation import (
    check_metrics,
    example_spec,
    make_validation,
    means_in_one_loop,
    resident,
)
from fnn.training.fitting import starting_values
from fnn.training.history import optimizer_figures
from fnn.training.objective import Supervised
from fnn.training.per_example_gradient import AnyGradient
from fnn.training.placing import on_device
from fnn.training.running.runner import means, run_steps, start
from fnn.training.running.sources import Arrays
from fnn.training.step import TrainState, make_step
from fnn.types import Array, GradientTransformation, Key, Params, PyTree, State
from fnn.values import show


class Trained(NamedTuple):
    """The result of `train`: the state after the last step, and figures of every epoch."""

    train_state: TrainState
    history: dict[str, Array]


def train(
    objective: Callable[..., Any],
    optimizer: GradientTransformation,
    data: tuple[PyTree, PyTree],
    *,
    key: Key,
    epochs: int,
    batch_size: int,
    validation: tuple[PyTree, PyTree] | None = None,
    gradient: AnyGradient | None = None,
    accumulate: int = 1,
    params: Params | None = None,
    state: State | None = None,
    train_state: TrainState | None = None,
) -> Trained:
    """Train as `fit` does, as a pure function: one compiled loop over epochs and steps.

    Initial values, orders, batches and noise are those of `fit` with the same key, and so
    are the results, up to rounding. Nothing is printed or saved, and training does not
    stop, not even after a loss that is not finite.

    As it is pure, `jax.vmap` maps it over keys, initial parameters and the numbers in
    objective and optimizer, such as learning rates. One compiled call then trains a whole
    population. Networks that share a key share the order of their examples, and each batch
    is gathered once for all of them. On a CPU that one network keeps busy, `jax.lax.map`
    is faster than `jax.vmap`.

    Args:
        objective: The result of `supervised`; or, if `params` or `train_state` is given and
            `validation` is not, any objective of `make_step`.
        optimizer: fnn's or Optax's. Numbers inside may be traced.
        data: Inputs and targets, (x, y), each an array or a pytree of arrays with a leading
            axis over the examples. Inside of `jax.jit`, make it an argument.
        key: A typed key; initial values, orders and all noise are made from it.
        epochs: Number of passes over the data.
        batch_size: Number of examples in a step.
        validation: Inputs and targets to evaluate on after every epoch.
        gradient: A transform of the loss of one example, in place of the gradient of the
            mean loss; see `make_step`.
        accumulate: Number of microbatches into which a batch is split; see `make_step`.
        params: Parameters to start from, instead of the model's initial ones.
        state: State to start from, together with `params`.
        train_state: The state to go on from, made by `train` with the same key, data and
            batch size: 5 epochs and then 3 more are the same as 8.

    Returns:
        The last train state, and a history like that of `fit`, without `"seconds"`: an
        array, (epochs,), for each name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If data is empty or differs in length; if the model, the loss or a
            metric refuses it, unless it is traced; if there are fewer examples than
            `batch_size`; if `accumulate` does not divide it; or if both `params` and
            `train_state` are given.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 64)[:, None]
        >>> model = fnn.Sequential(fnn.Dense(16), jax.nn.tanh, fnn.Dense(1))
        >>> objective = fnn.supervised(model, fnn.losses.squared_error)
        >>> def trained(learning_rate, key):
        ...     adam = fnn.optimizers.Adam(learning_rate)
        ...     data = x, x**2
        ...     return fnn.train(objective, adam, data, key=key, epochs=50, batch_size=16)
        >>> rates = jax.numpy.array([1e-4, 1e-3, 1e-2])
        >>> ensemble = jax.vmap(trained, in_axes=(0, None))
        >>> train_state, history = jax.jit(ensemble)(rates, jax.random.key(0))
        >>> train_state.params["dense_0"]["kernel"].shape, history["loss"].shape
        ((3, 1, 16), (3, 50))
        >>> history["loss"][:, -1].argmin()
        Array(2, dtype=int32)
    """
    step = make_step(objective, optimizer, gradient=gradient, accumulate=accumulate)
    checks.typed_key(key, "train")
    epochs = checks.positive_integer("epochs", epochs)
    init_key, order_key, step_key = jax.random.split(key, 3)
    source = Arrays(on_device(data, "data"), batch_size, order_key)
    check_divisible(source.batch_size, accumulate)
    x, _ = source.sample
    if train_state is None:
        if params is None:
            _check_supervised(objective, "params")
        init = functools.partial(_init, jax.tree.map(lambda leaf: leaf[0], x), init_key)
        params, state = starting_values(objective, params, state, example_spec(x), init)
        train_state = TrainState.create(
            params, state, optimizer, key=step_key, gradient=gradient
        )
    elif params is not None:
        raise ValueError("train takes params or train_state, which has its own, not both")
    params, state = train_state.params, train_state.state
    if isinstance(objective, Supervised):
        metrics = objective.all_metrics
        check_metrics(objective.model, params, state, source.sample, metrics, "data")
    examples = None
    if validation is not None:
        _check_supervised(objective, "no validation")
        examples = resident(on_device(validation, "validation"))
    size = source.batch_size
    validate = make_validation(objective, params, state, examples, size, means_in_one_loop)
    _, metric_specs = jax.eval_shape(step, train_state, source.batch)

    def epoch(train_state: TrainState, number: Array) -> tuple[TrainState, Any]:
        carry = start(train_state, metric_specs)
        carry = run_steps(step, carry, source.shuffled(number), 0, source.batches)
        train_state = carry.train_state
        figures = means(carry) | validate(train_state)
        return train_state, figures | optimizer_figures(optimizer, train_state.opt_state)

    first = train_state.step // source.batches
    return Trained(*jax.lax.scan(epoch, train_state, first + jnp.arange(epochs)))


def _init(example: PyTree, key: Key, model: Layer) -> tuple[Params, State]:
    return initial(model, key, example)


def _check_supervised(objective: Any, otherwise: str) -> None:
    if not isinstance(objective, Supervised):
        raise TypeError(
            f"train needs an objective that fnn.supervised makes, or {otherwise}; "
            f"got {show(objective)}"
        )
