"""The learning-rate range test."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.shuffling import permutation
from fnn.layers.base import Layer
from fnn.platforms import compiled
from fnn.schedules.base import as_float, done, left, reached
from fnn.tables import number, rich_table, text_table
from fnn.training.objective import Metric, supervised
from fnn.training.placing import on_device
from fnn.training.running.runner import choose_loop, host_loop
from fnn.training.running.sources import Dataset, take_batch
from fnn.training.step import Step, TrainState, make_step
from fnn.types import Array, GradientTransformation, Key, NDArray, Params, State
from fnn.values import Value, paths_to, replace_at, show

HEADER = ("", "rate", "loss")


class LearningRateRange(NamedTuple):
    """The result of `learning_rate_range`; prints as a table.

    Attributes:
        rates: The rate of each step taken, (n,).
        losses: The loss of each mini-batch before the step, (n,).
        smoothed: Their exponential average, (n,).
        suggested: A tenth of the rate at which the smoothed loss is lowest.
        diverged: Whether the test ended because the loss rose or was not finite.
    """

    rates: NDArray
    losses: NDArray
    smoothed: NDArray
    suggested: float
    diverged: bool

    def __str__(self) -> str:
        return f"{text_table(HEADER, self._rows(), numbers=2)}\n\n{self._conclusion()}"

    def __rich__(self) -> Any:
        rows, caption = self._rows(), self._conclusion()
        marked = [False] * len(rows)
        return rich_table(HEADER, rows, numbers=2, marked=marked, caption=caption)

    def _rows(self) -> list[tuple[str, ...]]:
        places = {
            "first": 0,
            "suggested": int(np.argmin(abs(self.rates - self.suggested))),
            "lowest loss": int(np.argmin(self.smoothed)),
            "last": len(self.rates) - 1,
        }
        return [
            (name, number(float(self.rates[i])), number(float(self.smoothed[i])))
            for name, i in places.items()
        ]

    def _conclusion(self) -> str:
        ending = "rose at the last" if self.diverged else "did not rise: raise `high`"
        return f"try a rate of {number(self.suggested)}; the loss {ending}"


def learning_rate_range(
    model: Layer,
    loss: Metric,
    optimizer: GradientTransformation,
    data: Any,
    *,
    key: Key,
    batch_size: int,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
    smoothing: float = 0.9,
    params: Params | None = None,
    state: State | None = None,
) -> LearningRateRange:
    """Train for some steps at a growing rate, α(t) = low (high / low)^(t / (steps - 1)).

    At first the rate is too low and the loss does not change; then the loss falls; at last
    the rate is too high and the loss rises again. The test ends when the smoothed loss
    exceeds its lowest value by more than its first value, or is not finite.

    Source: Smith 2017, "Cyclical learning rates for training neural networks", whose rate
    grows linearly.

    Args:
        model: A layer for one example.
        loss: A function of the output and the target of one example, ().
        optimizer: One of fnn's; the growing rate replaces every `learning_rate` in it, also
            inside a `Chain`.
        data: Inputs and targets, (x, y), with a leading axis over the examples.
        key: A typed key for initial values, orders and all noise.
        batch_size: Number of examples per step.
        low: The first rate.
        high: The last rate.
        steps: Number of mini-batches; a few hundred suffice.
        smoothing: The share of the average kept per step.
        params: Parameters to start from, instead of `model.init`'s.
        state: State to start from; goes with `params`.

    Returns:
        Rates, losses, smoothed losses, and a rate to try. Print it, or draw it with
        `fnn.plots.learning_rate_range`.

    Raises:
        TypeError: If the optimizer has no field `learning_rate`.
        ValueError: If a number is out of range, there are fewer examples than
            `batch_size`, or the loss is not finite before the first step.

    Example:
        >>> x = jax.numpy.linspace(-1, 1, 64)[:, None]
        >>> found = fnn.diagnostics.learning_rate_range(
        ...     fnn.Sequential(fnn.Dense(16), jax.nn.tanh, fnn.Dense(1)),
        ...     fnn.losses.squared_error,
        ...     fnn.optimizers.Adam(1e-3),
        ...     (x, x**2),
        ...     key=jax.random.key(0),
        ...     batch_size=16,
        ... )
        >>> 1e-3 < found.suggested < 1, found.diverged
        (True, True)
    """
    checks.typed_key(key, "learning_rate_range")
    steps, batch_size = (
        checks.positive_integer(name, value)
        for name, value in (("steps", steps), ("batch_size", batch_size))
    )
    checks.between("smoothing", smoothing, 0, 0.999)
    if not 0 < low < high < math.inf:
        raise ValueError(f"rates must be 0 < low < high, got low={low}, high={high}")
    x, y = on_device(data, "data")
    examples = checks.leading_length(x, "x")
    if examples < batch_size:
        raise ValueError(f"batch_size is {batch_size}, of {examples} examples")
    growing: Any = optimizer
    for path in paths_to(optimizer, "learning_rate"):
        growing = replace_at(growing, path, _Growth(low, high, steps))
    if growing is optimizer:
        raise TypeError(
            f"learning_rate_range needs one of fnn's optimizers with a field "
            f"learning_rate, such as fnn.optimizers.Adam(1e-3); got {show(optimizer)}"
        )
    init_key, order_key, step_key = jax.random.split(key, 3)
    if params is None:
        params, state = model.init(init_key, jax.tree.map(lambda leaf: leaf[0], x))
    step = make_step(supervised(model, loss), growing)
    train_state = TrainState.create(params, state or {}, growing, key=step_key)
    order = _order(order_key, examples, batch_size, steps)
    dataset = Dataset((x, y), order, 0, order.size, batch_size, weighted=False)
    carry = _run(step, _start(train_state, steps), dataset, smoothing)
    return _result(carry, np.geomspace(low, high, steps))


class _Growth(Value):
    """The rate that grows from step to step."""

    low: float
    high: float
    steps: int

    def __call__(self, step: Array) -> Array:
        last = max(self.steps - 1, 1)
        share, rest = done(step, last), left(step, last)
        # A product of powers, because high / low may overflow.
        rate = as_float(self.low) ** rest * as_float(self.high) ** share
        return jnp.where(reached(step, last) & (self.steps > 1), self.high, rate)


class _Carry(NamedTuple):
    """The values passed from step to step; losses are NaN until they are known."""

    train_state: TrainState
    losses: Array
    smoothed: Array
    average: Array
    lowest: Array
    i: Array
    diverged: Array


def _order(key: Key, examples: int, batch_size: int, steps: int) -> Array:
    """Return the examples of all batches, whole ones only, shuffled in every epoch."""
    batches = examples // batch_size
    keys = jax.random.split(key, -(-steps // batches))
    epochs = [permutation(key, examples)[: batches * batch_size] for key in keys]
    return jnp.concatenate(epochs)[: steps * batch_size]


def _start(train_state: TrainState, steps: int) -> _Carry:
    unknown = jnp.full(steps, jnp.nan)
    zero, infinity = jnp.zeros(()), jnp.full((), jnp.inf)
    none = jnp.zeros((), jnp.int32)
    return _Carry(train_state, unknown, unknown, zero, infinity, none, jnp.bool_(False))


def _advance(step: Step, carry: _Carry, dataset: Dataset, smoothing: Array) -> _Carry:
    i = carry.i
    train_state, metrics = step(carry.train_state, take_batch(dataset, i))
    loss = metrics["loss"].astype(carry.losses.dtype)
    average = smoothing * carry.average + (1 - smoothing) * loss
    smoothed = average / (1 - smoothing ** (i + 1).astype(loss.dtype))
    lowest = jnp.minimum(carry.lowest, smoothed)
    first = jnp.where(i == 0, loss, carry.losses[0])
    return _Carry(
        train_state,
        carry.losses.at[i].set(loss),
        carry.smoothed.at[i].set(smoothed),
        average,
        lowest,
        i + 1,
        ~(smoothed - lowest <= jnp.abs(first)),
    )


def _goes_on(carry: _Carry) -> Array:
    return (carry.i < len(carry.losses)) & ~carry.diverged


def _run(step: Step, carry: _Carry, dataset: Dataset, smoothing: float) -> _Carry:
    """Run the test in one compiled loop, or in a loop of the host if that is faster."""
    share = jnp.asarray(smoothing, carry.losses.dtype)
    jaxpr = jax.make_jaxpr(_advance, static_argnums=0)(step, carry, dataset, share)
    if choose_loop(jaxpr.jaxpr) is not host_loop:
        return _compiled(step, carry, dataset, share)
    while _goes_on(carry):
        carry = _jitted(step, carry, dataset, share)
    return carry


_jitted = compiled(_advance, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(step: Step, carry: _Carry, dataset: Dataset, smoothing: Array) -> _Carry:
    return jax.lax.while_loop(
        _goes_on, lambda carry: _advance(step, carry, dataset, smoothing), carry
    )


def _result(carry: _Carry, rates: NDArray) -> LearningRateRange:
    losses, smoothed = np.asarray(carry.losses), np.asarray(carry.smoothed)
    count = int(np.isfinite(smoothed).sum())
    if not count:
        raise ValueError(f"the loss is {losses[0]} before any step is taken")
    rates, losses, smoothed = rates[:count], losses[:count], smoothed[:count]
    suggested = rates[np.argmin(smoothed)] / 10
    diverged = bool(carry.diverged)
    return LearningRateRange(rates, losses, smoothed, float(suggested), diverged)
