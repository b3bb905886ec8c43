"""Metrics of a model over a data set, exact over batches of any size."""

import contextlib
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.agreement import check_agreement
from fnn.layers.base import Layer, spec
from fnn.layers.combinators import batched
from fnn.layers.running import applied, located
from fnn.metrics.streaming import WeightedMean, nothing
from fnn.platforms import compiled
from fnn.sharding import Layout
from fnn.training.objective import Metric, check_model
from fnn.training.placing import check_functions, check_targets
from fnn.training.validation import HeldOut, held_out
from fnn.types import Array, Batch, NDArray, Params, PyTree, State

EVALUATION_BATCH_SIZE = 256


def evaluate(
    model: Layer,
    params: Params,
    state: State | None,
    data: Any,
    metrics: Mapping[str, Metric],
    *,
    batch_size: int = 512,
    mesh: jax.sharding.Mesh | None = None,
) -> dict[str, float]:
    """Return the mean of each metric over all examples, at inference.

    Args:
        model: For one example.
        params: Parameters of the model.
        state: State of the model; `{}` or `None` for one that holds none.
        data: Inputs and targets, (x, y), each with a leading axis over the examples; or
            `fnn.data.Streamed(x, y)`, or an iterable of such pairs, which are read piece
            by piece.
        metrics: Functions of the output and the target of one example, by name; losses
            are such functions too.
        batch_size: How many examples are computed at once, which bounds the memory.
        mesh: Devices that share the work, such as `fnn.sharding.make_mesh()`; the
            parameters lie as they are.

    Returns:
        A number for each metric.

    Raises:
        TypeError: If the data is not made of arrays of numbers, or `metrics` is not a
            mapping from names to functions.
        ValueError: If the data is empty, differs in length or is not finite, if
            parameters or state are not those of the model, or if a metric refuses the
            targets.

    Example:
        >>> model = fnn.Sequential(jax.numpy.negative)
        >>> data = jax.numpy.array([1.0, 2.0]), jax.numpy.array([-1.0, -4.0])
        >>> fnn.evaluate(model, {}, {}, data, {"error": fnn.losses.squared_error})
        {'error': 2.0}
    """
    state = {} if state is None else state
    check_model(model)
    check_functions(metrics, "metrics")
    batch_size = checks.positive_integer("batch_size", batch_size)
    layout = None if mesh is None else Layout(mesh)
    examples = held_out(data, "data", layout)
    check_agreement(model, params, state, example_spec(examples.sample[0]))
    sample, rows = examples.sample, examples.rows
    check_metrics(model, params, state, sample, metrics, "data", rows)
    means = means_on_device(model, params, state, examples, metrics, batch_size, layout)
    found = {name: float(mean) for name, mean in means.items()}
    if any(map(math.isnan, found.values())):
        with contextlib.closing(examples.chunks()) as chunks:
            for number, (x, y, *_) in enumerate(chunks):
                name = f"chunk {number} (from 0) of data"
                check_metrics(model, params, state, (x, y), metrics, name)
    return found


def check_metrics(
    model: Layer,
    params: Params,
    state: State,
    arrays: tuple[PyTree, PyTree],
    metrics: Mapping[str, Metric],
    name: str,
    rows: NDArray | None = None,
) -> None:
    """Raise what the model or a metric has to object to, before anything is computed."""
    example = example_spec(arrays[0])
    with located(None, model, example, params, state):
        output, _ = jax.eval_shape(
            functools.partial(_at_inference, model), params, state, example
        )
    check_targets(metrics, output, arrays[1], name, rows)


def _at_inference(
    model: Layer, params: Params, state: State, x: PyTree
) -> tuple[PyTree, State]:
    """Return the output of a model for one example at inference, and its state."""
    return applied(model, params, state, x, key=None, train=False)


def example_spec(batch: PyTree) -> PyTree:
    """Return the spec of one example of a batch."""
    return jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:]), spec(batch))


def means_on_device(
    model: Layer,
    params: Params,
    state: State,
    examples: HeldOut,
    metrics: Mapping[str, Metric],
    batch_size: int,
    layout: Layout | None = None,
) -> dict[str, Array]:
    """Return the mean of each metric without waiting for it."""
    totals = {name: WeightedMean.init() for name in metrics}
    with contextlib.closing(examples.chunks()) as chunks:
        for chunk in chunks:
            length = jax.tree.leaves(chunk)[0].shape[0]
            size = min(batch_size, length)
            add = functools.partial(_add_batch, model, tuple(metrics.items()), size, layout)
            for first in range(0, length, size):
                totals = add(params, state, chunk, first, totals)
    return _results(totals)


def means_of_arrays(
    model: Layer,
    params: Params,
    state: State,
    arrays: tuple[PyTree, PyTree],
    metrics: Mapping[str, Metric],
    batch_size: int,
) -> dict[str, Array]:
    """Return the mean of each metric in one loop, inside of which all may be traced."""
    length = checks.leading_length(arrays, "data")
    size = min(batch_size, length)
    add = functools.partial(
        add_batch, model, tuple(metrics.items()), size, None, params, state, arrays
    )
    outputs = jax.eval_shape(functools.partial(_outputs, model), params, state, arrays[0])
    dtypes = {
        name: jax.eval_shape(jax.vmap(metric), outputs, arrays[1]).dtype
        for name, metric in metrics.items()
    }
    totals = {name: nothing((), dtype) for name, dtype in dtypes.items()}
    steps = -(-length // size)
    return _results(jax.lax.fori_loop(0, steps, lambda i, t: add(i * size, t), totals))


@jax.jit
def _results(totals: dict[str, WeightedMean]) -> dict[str, Array]:
    return {name: total.result() for name, total in totals.items()}


def _outputs(model: Layer, params: Params, state: State, x: PyTree) -> PyTree:
    """Return the outputs of a batch, at inference."""
    return batched(model).apply(params, state, x)[0]


def add_batch(
    model: Layer,
    metrics: tuple[tuple[str, Metric], ...],
    size: int,
    layout: Layout | None,
    params: Params,
    state: State,
    chunk: Batch,
    first: Array,
    totals: dict[str, WeightedMean],
) -> dict[str, WeightedMean]:
    """Add the metrics of the examples from `first` on to totals."""
    length = jax.tree.leaves(chunk)[0].shape[0]
    # The last batch reaches back, so that it has the size of the others.
    begin = jnp.minimum(first, length - size)
    new = begin + jnp.arange(size) >= first
    batch = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, begin, size), chunk)
    if layout is not None:
        batch = jax.lax.with_sharding_constraint(batch, layout.batch)
    x, y, *weights = batch
    outputs = _outputs(model, params, state, x)
    counts = jnp.where(new, weights[0], jnp.zeros_like(weights[0])) if weights else new
    return {
        name: totals[name].update(jax.vmap(metric)(outputs, y), counts)
        for name, metric in metrics
    }


_add_batch = compiled(add_batch, static_argnums=(0, 1, 2, 3))
