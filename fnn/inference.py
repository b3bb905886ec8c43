"""Inference: outputs for many inputs, and programs that run without fnn."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from fnn import checks
from fnn.data.streaming import prefetched
from fnn.layers.agreement import check_agreement
from fnn.layers.base import Layer, spec
from fnn.layers.batching import batched
from fnn.layers.running import located
from fnn.platforms import compiled, tracing_for
from fnn.sharding import Layout
from fnn.types import Params, PyTree, State


def predict(
    model: Layer,
    params: Params,
    state: State | None,
    x: PyTree,
    *,
    batch_size: int = 512,
    mesh: jax.sharding.Mesh | None = None,
) -> PyTree:
    """Return the outputs of a model for many inputs, at inference.

    A thread reads inputs ahead and puts them on the device batch by batch. Outputs return
    to the host while the next batch is computed. So the device holds only a few batches at
    a time.

    Args:
        model: A layer for one example.
        params: Its parameters.
        state: Its state; `{}` or `None` if it has none.
        x: Inputs: an array, or a pytree of arrays, with a leading axis over the examples;
            `numpy.memmap` will do.
        batch_size: Number of examples computed at once.
        mesh: Devices that share the work, such as `fnn.sharding.make_mesh()`; the
            parameters are not moved.

    Returns:
        The outputs: NumPy arrays with a leading axis over the examples.

    Raises:
        TypeError: If `x` is not made of arrays of numbers.
        ValueError: If there are no examples, if the leaves of `x` differ in length, if the
            mesh does not divide `batch_size`, if parameters or state are not those of
            the model, or if the model refuses its input.

    Example:
        >>> x = jax.numpy.arange(4.0)
        >>> fnn.predict(fnn.Sequential(jax.numpy.square), {}, {}, x, batch_size=3)
        array([0., 1., 4., 9.], dtype=float32)
    """
    state = {} if state is None else state
    checks.arrays(x, "x")
    examples = checks.leading_length(x, "x")
    if examples == 0:
        raise ValueError(f"x is empty: {checks.describe(x)}")
    size = checks.positive_integer("batch_size", batch_size)
    layout = None if mesh is None else Layout(mesh)
    if layout is not None:
        layout.check_divides(size, "batch_size")
    parts: list[PyTree] = []
    computed: PyTree = None
    with prefetched(_batches(x, examples, size, layout)) as ready:
        for i, batch in enumerate(ready):
            if i == 0:
                check_agreement(model, params, state, _of_one(spec(batch)))
            before, computed = computed, _outputs(model, params, state, batch)
            if before is not None:
                parts.append(jax.device_get(before))
    parts.append(jax.device_get(computed))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:examples], *parts)


def export(
    model: Layer,
    params: Params,
    state: State | None,
    x: PyTree,
    *,
    platforms: Sequence[str] | None = None,
) -> jax_export.Exported:
    """Compile a trained model, at inference, to a program that runs without fnn.

    The program takes a batch of any size; the parameters are part of it. Its bytes, from
    `serialize()`, can be written to a file, and any later JAX runs them:
    `jax.export.deserialize(data).call(batch)`. Both need the extra `export`.

    Args:
        model: A layer for one example.
        params: Its parameters.
        state: Its state; `{}` or `None` if it has none.
        x: One example, or its `jax.ShapeDtypeStruct`.
        platforms: The platforms that the program can run on: some of `"cpu"`, `"cuda"`,
            `"rocm"` and `"tpu"`; by default the one it is exported on. With several, layers
            use the forms that are fastest on the exporting platform, if it is among them.

    Raises:
        TypeError: If `x` is not an array.
        ValueError: If the model refuses its input, or a platform is unknown.

    Example:
        >>> model = fnn.Dense(2)
        >>> x = jax.numpy.ones((5, 3))
        >>> params, state = model.init(jax.random.key(0), x[0])
        >>> program = fnn.export(model, params, state, x[0]).serialize()
        >>> jax.export.deserialize(program).call(x).shape
        (5, 2)
    """
    state = {} if state is None else state
    example = spec(x)
    check_agreement(model, params, state, example)
    with located(None, model, example, params, state):
        jax.eval_shape(model.apply, params, state, example)
    (batch,) = jax_export.symbolic_shape("batch")
    arguments = jax.tree.map(lambda leaf: leaf.update(shape=(batch, *leaf.shape)), example)

    @jax.jit
    def call(x: PyTree) -> PyTree:
        return batched(model).apply(params, state, x)[0]

    exporter = jax_export.export(call, platforms=platforms)
    if platforms is None or jax.default_backend() in platforms:
        return exporter(arguments)
    with tracing_for(platforms[0]):
        return exporter(arguments)


def _batches(
    x: PyTree, examples: int, size: int, layout: Layout | None
) -> Iterator[PyTree]:
    """Yield batches on the device; the last is filled up if there are several."""
    size = size if layout is not None else min(size, examples)
    for first in range(0, examples, size):
        batch = jax.tree.map(lambda leaf, i=first: _rows(leaf, i, size), x)
        yield jax.device_put(batch, layout.batch if layout is not None else None)


def _of_one(batch: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:]), batch)


def _rows(leaf: Any, first: int, size: int) -> Any:
    """Return `size` rows from `first` on; beyond the end, repeat the last row."""
    part = np.asarray(leaf[first : first + size])
    fill = size - len(part)
    return np.concatenate([part, np.repeat(part[-1:], fill, axis=0)]) if fill else part


@functools.partial(compiled, static_argnums=0)
def _outputs(model: Layer, params: Params, state: State, batch: PyTree) -> PyTree:
    return batched(model).apply(params, state, batch)[0]
