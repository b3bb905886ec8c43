"""What the rivals with Optax share: the loss of a case, and the step of Adam."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.jax_program import program


def mean_loss(case: networks.Case, output: Any, y: Any) -> Any:
    """Return the mean loss of outputs, in float32."""
    output = output.astype(jnp.float32)
    if case.network == "autoencoder":
        return optax.squared_error(output, y).sum(1).mean()
    return optax.softmax_cross_entropy_with_integer_labels(output, y).mean()


def adam_program(
    case: networks.Case,
    apply: Callable[[Any, Any, Any], tuple[Any, Any]],
    params: Any,
    state: Any,
    batch: tuple[Any, Any],
) -> Program:
    """Return the program of the step for `apply(params, state, x) -> (output, state)`."""
    adam = optax.adam(networks.RATE)

    def loss(params: Any, state: Any, x: Any, y: Any) -> Any:
        output, state = apply(params, state, x)
        return mean_loss(case, output, y), state

    @functools.partial(jax.jit, donate_argnums=0)
    def step(carry: Any, x: Any, y: Any) -> Any:
        params, state, opt_state = carry
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, state), grads = gradient(params, state, x, y)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(params, updates), state, opt_state), value

    return carried_program(case, step, (params, state, adam.init(params)), batch)


def carried_program(
    case: networks.Case, step: Any, carry: Any, batch: tuple[Any, Any]
) -> Program:
    """Return the program of a jitted `step(carry, x, y) -> (carry, loss)`."""
    carried = [carry]

    def run() -> Any:
        carried[0], value = step(carried[0], *batch)
        return value

    return program(run, lambda: step.lower(carried[0], *batch), case)
