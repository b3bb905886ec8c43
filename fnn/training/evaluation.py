"""Metrics of a model over data that it is not trained on, exact for any batch size."""

import contextlib
import functools
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.streaming import Memory, Streamed, prefetched, take
from fnn.layers.agreement import check_agreement
from fnn.layers.base import Layer, spec
from fnn.layers.batching import batched
from fnn.layers.running import applied, located
from fnn.metrics.streaming import WeightedMean, nothing
from fnn.platforms import compiled
from fnn.sharding import Layout
from fnn.training.objective import Metric, check_functions, check_model
from fnn.training.placing import (
    as_batch,
    examples_per_chunk,
    first_batch,
    on_device,
    replicated,
    sample_rows,
)
from fnn.training.step import TrainState
from fnn.types import Array, Batch, NDArray, Params, PyTree, State
from fnn.values import show

EVALUATION_BATCH_SIZE = 256
"""The smallest batch of a validation: small training batches would waste its time."""


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
            `fnn.data.Streamed(x, y)`, or an iterable of such pairs, which are read in
            chunks.
        metrics: Functions of the output and the target of one example, by name. A loss
            is such a function too.
        batch_size: The number of examples computed at once, which bounds the memory.
        mesh: Devices that share the work, such as `fnn.sharding.make_mesh()`; the
            parameters stay where they are.

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
    means = means_by_chunks(model, params, state, examples, metrics, batch_size, layout)
    found = {name: float(mean) for name, mean in means.items()}
    if any(map(math.isnan, found.values())):
        with contextlib.closing(examples.chunks()) as chunks:
            for number, (x, y, *_) in enumerate(chunks):
                name = f"chunk {number} (from 0) of data"
                check_metrics(model, params, state, (x, y), metrics, name)
    return found


class HeldOut(NamedTuple):
    """Examples to evaluate on.

    Attributes:
        sample: Some of them, (x, y), or all, to check the model and the metrics with.
        chunks: Returns a generator that yields all of them, chunk by chunk.
        rows: The numbers of the examples in the sample, if they are not the first.
    """

    sample: tuple[PyTree, PyTree]
    chunks: Callable[[], Generator[Batch]]
    rows: NDArray | None = None


def held_out(data: Any, name: str, layout: Layout | None = None) -> HeldOut:
    """Return the examples in data of any form that `evaluate` takes.

    Raises:
        TypeError: If it is neither a pair, nor a `Streamed`, nor an iterable of batches.
        ValueError: If it is empty, differs in length, is not finite, or can be read once.
    """
    if isinstance(data, Streamed):
        memory = Memory()  # shared by all passes
        rows = sample_rows(data)
        sample = take(data, rows, Memory())
        return HeldOut(sample, lambda: _read(data, memory, layout), rows)
    pair = isinstance(data, tuple | list | dict | str) or hasattr(data, "shape")
    if pair or not hasattr(data, "__iter__"):
        return resident(on_device(data, name, layout))
    batches = iter(data)
    if batches is data:
        raise ValueError(
            f"{name} is an iterator, {checks.describe(data)}, which can be read once; "
            f"give an iterable"
        )
    first = next(batches, None)
    if first is None:
        raise ValueError(f"{name} gives no batch: {checks.describe(data)}")
    x, y, *_ = first_batch(first)
    return HeldOut((x, y), lambda: _load(data, layout))


def resident(arrays: tuple[PyTree, PyTree]) -> HeldOut:
    """Return examples that are all on the device, in one chunk."""
    return HeldOut(arrays, lambda: (chunk for chunk in [arrays]))


def _read(data: Streamed, memory: Memory, layout: Layout | None) -> Generator[Batch]:
    size = examples_per_chunk(data)
    bounds = range(0, len(data), size)
    rows = (np.arange(first, min(first + size, len(data))) for first in bounds)
    chunks = (replicated(take(data, chosen, memory), layout) for chosen in rows)
    with prefetched(chunks) as ready:
        yield from ready


def _load(data: Any, layout: Layout | None) -> Generator[Batch]:
    chunks = (replicated(as_batch(batch), layout) for batch in data)
    with prefetched(chunks) as ready:
        yield from ready


def make_validation(
    objective: Any,
    params: Params,
    state: State,
    examples: HeldOut | None,
    batch_size: int | None,
    compute_means: Callable[..., dict[str, Array]],
) -> Callable[[TrainState], dict[str, Array]]:
    """Check held-out examples; return the function that evaluates on them.

    Args:
        objective: The result of `supervised`; without examples, any objective.
        params: Any parameters of the model, to check the examples with.
        state: Any state of the model, likewise.
        examples: The examples, or None, for a function that evaluates nothing.
        batch_size: That of training; evaluation takes at least `EVALUATION_BATCH_SIZE`.
        compute_means: `means_by_chunks` or `means_in_one_loop`.

    Returns:
        A function from a train state to the means, `"val_"` before their names.
    """
    if examples is None:
        return lambda _: {}
    model, metrics = objective.model, objective.all_metrics
    sample, rows = examples.sample, examples.rows
    check_metrics(model, params, state, sample, metrics, "validation", rows)
    size = max(batch_size or 0, EVALUATION_BATCH_SIZE)

    def validate(now: TrainState) -> dict[str, Array]:
        means = compute_means(model, now.params, now.state, examples, metrics, size)
        return {f"val_{name}": mean for name, mean in means.items()}

    return validate


def means_by_chunks(
    model: Layer,
    params: Params,
    state: State,
    examples: HeldOut,
    metrics: Mapping[str, Metric],
    batch_size: int,
    layout: Layout | None = None,
) -> dict[str, Array]:
    """Return the mean of each metric, without waiting for the device."""
    totals = {name: WeightedMean.init() for name in metrics}
    with contextlib.closing(examples.chunks()) as chunks:
        for chunk in chunks:
            length = jax.tree.leaves(chunk)[0].shape[0]
            size = min(batch_size, length)
            add = functools.partial(_add_batch, model, tuple(metrics.items()), size, layout)
            for first in range(0, length, size):
                totals = add(params, state, chunk, first, totals)
    return _results(totals)


def means_in_one_loop(
    model: Layer,
    params: Params,
    state: State,
    examples: HeldOut,
    metrics: Mapping[str, Metric],
    batch_size: int,
) -> dict[str, Array]:
    """Return the mean of each metric, in one loop, also where everything is traced."""
    arrays = examples.sample
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
    batches = -(-length // size)
    return _results(jax.lax.fori_loop(0, batches, lambda i, t: add(i * size, t), totals))


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
    """Add to totals the metrics of `size` examples of a chunk, from number `first` on."""
    length = jax.tree.leaves(chunk)[0].shape[0]
    # The last batch overlaps the one before it, to have the size of the others, so that
    # one program serves all; the examples that were counted before get the weight 0.
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


def check_metrics(
    model: Layer,
    params: Params,
    state: State,
    arrays: tuple[PyTree, PyTree],
    metrics: Mapping[str, Metric],
    name: str,
    rows: NDArray | None = None,
) -> None:
    """Raise an error if the model or a metric rejects the data, at no cost.

    Traced data has no values to look at, and passes.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays)):
        return
    example = example_spec(arrays[0])
    with located(None, model, example, params, state):
        output, _ = jax.eval_shape(
            functools.partial(_at_inference, model), params, state, example
        )
    check_targets(metrics, output, arrays[1], name, rows)


def check_targets(
    functions: Mapping[str, Callable[..., Any]],
    output: PyTree,
    targets: PyTree,
    name: str,
    rows: NDArray | None = None,
) -> None:
    """Let every loss and metric see the targets with the smallest and largest values.

    Inside `jit` a loss can't look at values. Here it gets real targets, beside the spec of
    the model's output, so it raises an error for labels out of range, at no cost.

    Args:
        functions: The loss and the metrics, by name.
        output: The spec of the model's output for one example.
        targets: The targets of all examples.
        name: A name for the data, for the error.
        rows: The numbers of the examples, if they are not the first of the data.
    """
    extremes = set() if jax.tree.leaves(targets) else {0}
    for leaf in jax.tree.leaves(targets):
        flat = np.asarray(leaf).reshape(leaf.shape[0], -1)
        if flat.size:
            extremes |= {int(flat.min(1).argmin()), int(flat.max(1).argmax())}
    for i in sorted(extremes):
        target = jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], targets)
        for label, function in functions.items():
            try:
                value = jax.eval_shape(lambda y, f=function, t=target: f(y, t), output)
                _check_number(value, label)
            except Exception as error:
                error.add_note(
                    f"in {label}, {show(function)}, given the model's output "
                    f"{checks.describe(output)} and the target of example "
                    f"{i if rows is None else rows[i]} of {name}"
                )
                raise


def _check_number(value: Any, label: str) -> None:
    """Raise unless a loss or a metric gives one number."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    real = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if shape != () or not (real or label != "loss"):
        raise ValueError(
            f"{label} must give one number for one example, and a loss a floating-point "
            f"one; it gives {checks.describe(value)}"
        )


def _at_inference(
    model: Layer, params: Params, state: State, x: PyTree
) -> tuple[PyTree, State]:
    """Return the output of a model for one example at inference, and its state."""
    return applied(model, params, state, x, key=None, train=False)


def example_spec(batch: PyTree) -> PyTree:
    """Return the spec of one example of a batch."""
    return jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:]), spec(batch))
