"""What training minimizes, as a function of parameters, state, a batch and a key."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn.layers.base import Layer
from fnn.layers.combinators import Batched, batched
from fnn.types import Array, Key, Params, PyTree, State
from fnn.values import Value, show

Metric: TypeAlias = Callable[[Any, Any], Array]
"""From the output and the target of one example to a scalar."""


class Supervised(Value):
    """The mean loss of a batch; see `supervised`, which makes it.

    Example:
        >>> fnn.supervised(fnn.Dense(2), fnn.losses.squared_error)
        fnn.training.Supervised(fnn.Dense(2), fnn.losses.squared_error)
    """

    model: Layer
    loss: Metric
    metrics: tuple[tuple[str, Metric], ...] = ()
    regularizer: Callable[[Params], Array] | None = None
    augment: Callable[[Key, PyTree], PyTree] | None = None

    def __call__(
        self, params: Params, state: State, batch: tuple[PyTree, ...], key: Key
    ) -> tuple[Array, tuple[State, dict[str, Array]]]:
        """Compute the objective in training.

        Args:
            params: Parameters of the model.
            state: State of the model.
            batch: `(x, y)` or `(x, y, weights)`, each with a leading batch axis. An
                example of weight 0 counts nowhere but in the statistics of layers that
                couple the batch.
            key: A typed key.

        Returns:
            The objective, (), and the pair of new state and metrics, each metric the
            mean over the batch.
        """
        x, y, *weights = batch
        if self.augment is not None:
            key, augment_key = jax.random.split(key)
            keys = jax.random.split(augment_key, jax.tree.leaves(x)[0].shape[0])
            x = jax.vmap(self.augment)(keys, x)
        model = batched(self.model)
        outputs, state = model.apply(params, state, x, key=key, train=True)
        loss = mean_over_batch(self.loss, outputs, y, *weights)
        metrics = {"loss": loss}
        if self.regularizer is not None:
            metrics["penalty"] = self.regularizer(params)
            loss = loss + metrics["penalty"]
        for name, metric in self.metrics:
            metrics[name] = mean_over_batch(metric, outputs, y, *weights)
        return loss, (state, metrics)


def supervised(
    model: Layer,
    loss: Metric,
    *,
    metrics: Mapping[str, Metric] | None = None,
    regularizer: Callable[[Params], Array] | None = None,
    augment: Callable[[Key, PyTree], PyTree] | None = None,
) -> Supervised:
    """Make the objective of supervised learning: 1/B Σᵢ loss(f(xᵢ), yᵢ) + Ω(params).

    Args:
        model: For one example.
        loss: Of the output and the target of one example, ().
        metrics: Further functions like `loss`, by name, that are reported alongside.
        regularizer: Ω, a function of the parameters, added to the mean loss and
            reported as `"penalty"`.
        augment: Changes one input at random in training: `(key, x) -> x`.

    Returns:
        A value that is called `(params, state, batch, key)` and gives
        `(objective, (state, metrics))`. Any function of that kind can be trained.

    Raises:
        TypeError: If the model is batched already, or is no layer.
        ValueError: If a metric is named `"loss"` or `"penalty"`.

    Example:
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> params = {"kernel": jax.numpy.zeros((1, 1)), "bias": jax.numpy.zeros(1)}
        >>> batch = jax.numpy.ones((3, 1)), jax.numpy.array([1.0, 2.0, 3.0])
        >>> loss, (state, metrics) = objective(params, {}, batch, jax.random.key(0))
        >>> print(f"{loss:.4f}")  # (1 + 4 + 9) / 3
        4.6667
    """
    check_model(model)
    pairs = tuple((metrics or {}).items())
    if reserved := {"loss", "penalty"} & set(dict(pairs)):
        raise ValueError(f"metrics can't be named {sorted(reserved)}: fnn reports those")
    return Supervised(model, loss, pairs, regularizer, augment)


def check_model(model: Any) -> None:
    """Raise unless `model` is a layer for one example."""
    if isinstance(model, Batched):
        raise TypeError(
            f"training takes the model of one example and maps it over the batch "
            f"itself; give {show(model.layer)} in place of {show(model)}"
        )
    if not isinstance(model, Layer):
        hint = "an instance of " if isinstance(model, type) else "a layer, "
        raise TypeError(f"model must be {hint}{show(model)}")


def mean_over_batch(
    metric: Metric, outputs: PyTree, targets: PyTree, weights: Array | None = None
) -> Array:
    """Return Σᵢ wᵢ metric(outputᵢ, targetᵢ) / Σᵢ wᵢ, the weights being 1 by default."""
    values = jax.vmap(metric)(outputs, targets)
    if values.ndim != 1:
        raise ValueError(
            f"a loss or metric must give one number for one example; "
            f"{show(metric)} gives an array of shape {values.shape[1:]}"
        )
    if weights is None:
        return jnp.mean(values)
    weights = weights.astype(values.dtype)
    return jnp.sum(weights * values) / jnp.sum(weights)
