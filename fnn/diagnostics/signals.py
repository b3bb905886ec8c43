"""The signals of a network, forward and backward, measured in one compiled call."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import tree
from fnn.diagnostics.capture import (
    Call,
    Probed,
    Record,
    calls_of,
    floating_leaves,
    probes_like,
)
from fnn.diagnostics.responses import Response, response_of, steepness
from fnn.layers.base import Layer
from fnn.layers.batching import batched
from fnn.optimizers.base import apply_updates, loss_scale, updated
from fnn.training.objective import Metric, mean_over_batch
from fnn.types import Array, GradientTransformation, Key, Params, PyTree, State

# Below the first share of its steepest slope, an activation function is flat, like ReLU
# where it is off. Below the second it is saturated: sigmoid below 0.013 and above 0.987,
# tanh above 0.975 in absolute value.
FLAT, SATURATED = 1e-3, 0.05
# A unit is saturated if it is so for more than this share of the examples.
MOST = 0.5


class Signals(NamedTuple):
    """The measurements: arrays with an entry for each layer, (L,), and values of the step.

    `size` is the root of the mean square of the outputs. `units` is their number,
    `dead` and `saturated` are shares of it. `fed` is whether the input differs between
    examples, `held` whether the layer has parameters. `gradient` is the norm of an
    example's gradient with respect to the output; `weight`, `weight_gradient` and `update`
    are the norms of the parameters, their gradient and their update. `predicted` is the
    first-order change of the loss by the update, and `input_size` is the size of the
    model's input.
    """

    mean: Any
    deviation: Any
    size: Any
    units: Any
    dead: Any
    saturated: Any
    fed: Any
    held: Any
    gradient: Any
    weight: Any
    weight_gradient: Any
    update: Any
    loss: Any
    loss_after: Any
    predicted: Any
    input_size: Any


def measure(
    model: Layer,
    loss: Metric,
    params: Params,
    state: State,
    batch: tuple[PyTree, PyTree],
    key: Key | None,
    optimizer: GradientTransformation | None,
    opt_state: Any,
) -> tuple[list[Call], Signals]:
    """Return the layers in the order of their calls, and their measurements."""
    calls, records = calls_of(model, params, state, batch[0], key)
    responses = tuple(
        call and _response(call, params, record)
        for call, record in zip(calls, records, strict=True)
    )
    arrays = params, state, batch, key, opt_state
    signals = _measure(model, loss, optimizer, tuple(calls), responses, *arrays)
    return [call for call in calls if call], jax.tree.map(np.asarray, signals)


def _response(call: Call, params: Params, record: Record) -> Response | None:
    x, y = jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:]), record)
    return response_of(call.layer, call.part(params), x, y)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _measure(
    model: Layer,
    loss: Metric,
    optimizer: GradientTransformation | None,
    calls: tuple[Call | None, ...],
    responses: tuple[Response | None, ...],
    params: Params,
    state: State,
    batch: tuple[PyTree, PyTree],
    key: Key | None,
    opt_state: Any,
) -> Signals:
    x, y = batch
    probed = batched(Probed(model))

    def objective(params: Params, probes: Any) -> tuple[Array, list[Record]]:
        inputs = x, probes
        # The same noise before and after the step, on purpose.
        same = None if key is None else jax.random.clone(key)
        (outputs, records), _ = probed.apply(params, state, inputs, key=same, train=True)
        return mean_over_batch(loss, outputs, y), records

    specs = jax.eval_shape(lambda: objective(params, None)[1])
    gradient = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
    (value, records), (grads, cotangents) = gradient(params, probes_like(specs))
    updates, predicted, after = tree.scale(jnp.nan, params), value, value
    if optimizer is not None:
        extra = {"value": value, "value_fn": lambda params: objective(params, None)[0]}
        updates = _updates(optimizer, params, opt_state, grads, extra)
        predicted = tree.dot(grads, updates)
        after, _ = objective(apply_updates(params, updates), None)
    rows = [
        (
            *_outputs(call, response, params, record),
            _per_example_norm(cotangent),
            *(tree.norm(call.part(part)) for part in (params, grads, updates)),
        )
        for call, response, record, cotangent in zip(
            calls, responses, records, cotangents, strict=True
        )
        if call is not None
    ]
    columns = map(jnp.stack, zip(*rows, strict=True))
    return Signals._make((*columns, value, after, predicted, _size(floating_leaves(x))))


def _updates(
    optimizer: GradientTransformation,
    params: Params,
    opt_state: Any,
    grads: PyTree,
    extra: dict[str, Any],
) -> PyTree:
    if (scale := loss_scale(optimizer, opt_state)) is not None:
        grads = tree.scale(scale, grads)
    updates, _ = updated(optimizer, grads, opt_state, params, extra | {"grad": grads})
    return jax.tree.map(lambda p, u: jnp.zeros_like(p) if u is None else u, params, updates)


def _outputs(
    call: Call, response: Response | None, params: Params, record: Record
) -> tuple[Array, ...]:
    """Return the fields of `Signals` for a layer's outputs, from `mean` to `held`."""
    own = call.part(params)
    leaves = floating_leaves(record.y)
    numbers = jnp.concatenate([leaf.ravel().astype(jnp.float32) for leaf in leaves])
    constant = jnp.concatenate([_constant(leaf) for leaf in leaves])
    dead = saturated = jnp.float32(jnp.nan)
    if response is not None:
        steep = steepness(call.layer, own, response, record.x)
        if response.bounded:
            saturated = jnp.mean(_by_unit(jnp.mean, steep <= SATURATED) > MOST)
        else:
            dead = jnp.mean(_by_unit(jnp.all, steep < FLAT))
    elif own:
        dead = jnp.mean(constant)
    fed = [jnp.any(leaf != leaf[:1]) for leaf in jax.tree.leaves(record.x)]
    return (
        jnp.mean(numbers),
        jnp.std(numbers),
        _size(leaves),
        jnp.float32(constant.size),
        dead,
        saturated,
        jnp.stack(fed).any(),
        jnp.bool_(bool(own)),
    )


def _by_unit(reduce: Callable[..., Array], values: Array) -> Array:
    """Reduce all axes but the last, the features; if it is the only axis, reduce it."""
    values = values.reshape(len(values), -1, values.shape[-1] if values.ndim > 1 else 1)
    return reduce(values, axis=(0, 1))


def _constant(y: Array) -> Array:
    """Return which units have the same output for all examples, at each position."""
    spread = _by_unit(jnp.max, y.max(0, keepdims=True) - y.min(0, keepdims=True))
    return spread <= 1e-6 * _by_unit(jnp.max, jnp.abs(y))


def _per_example_norm(cotangent: list[Array]) -> Array:
    """Return the root mean square, over examples, of ‖∂lossᵢ / ∂yᵢ‖.

    The cotangents belong to the mean loss, so each is 1/B of its example's own.
    """
    count = len(cotangent[0]) if cotangent else 1
    return tree.norm(cotangent) * count**0.5


def _size(leaves: list[Array]) -> Array:
    """Return the root mean square; 0 for empty leaves."""
    return tree.norm(leaves) / max(tree.size(leaves), 1) ** 0.5
