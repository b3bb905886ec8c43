"""The objective that training minimizes: a function of params, state, a batch and a key."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.data.mixing import BatchAugmentation, refilled
from fnn.layers.base import Layer
from fnn.layers.batching import Batched, batched
from fnn.metrics.streaming import mean_dtype
from fnn.training.per_example_gradient import (
    AnyGradient,
    initial_gradient_state,
    with_state,
)
from fnn.types import Array, Key, Params, PyTree, State, as_dtype
from fnn.values import Value, show

Metric: TypeAlias = Callable[[Any, Any], Array]
"""From the output and the target of one example to a scalar."""
Augmentation: TypeAlias = Callable[[Key, PyTree], PyTree] | BatchAugmentation
"""Changes one input, or a batch with its targets."""
REPORTED = ("loss", "penalty", "clipped", "gradient_norm")
# Folded into the key of a step, this makes the key of the gradient. No batch is so large
# that one of its examples has the same key.
GRADIENT_KEY = 2**32 - 1


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
    augment: Augmentation | None = None

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """The loss and the metrics, by name."""
        return {"loss": self.loss, **dict(self.metrics)}

    def __call__(
        self, params: Params, state: State, batch: tuple[PyTree, ...], key: Key
    ) -> tuple[Array, tuple[State, dict[str, Array]]]:
        """Compute the objective in training.

        Args:
            params: Parameters of the model.
            state: State of the model.
            batch: `(x, y)` or `(x, y, weights)`, each with a leading batch axis. An
                example of weight 0 is ignored, except in the statistics of layers that
                couple the batch. A `BatchAugmentation` gets other examples in its place.
            key: A typed key.

        Returns:
            The objective, (), and the pair of new state and metrics, each metric the
            mean over the batch.
        """
        x, y, *weights = _parts(batch)
        x, y, key = self._augmented(x, y, key, *weights)
        model = batched(self.model)
        outputs, state = model.apply(params, state, x, key=key, train=True)
        loss = mean_over_batch(self.loss, outputs, y, *weights)
        metrics = {"loss": loss}
        if self.regularizer is not None:
            penalty = jnp.asarray(self.regularizer(params))
            metrics["penalty"] = as_dtype(penalty, mean_dtype(penalty.dtype))
            loss = loss + as_dtype(metrics["penalty"], loss.dtype)
        for name, metric in self.metrics:
            metrics[name] = mean_over_batch(metric, outputs, y, *weights)
        return loss, (state, metrics)

    def per_example_gradient(
        self,
        gradient: AnyGradient,
        params: Params,
        state: State,
        batch: tuple[PyTree, ...],
        key: Key,
    ) -> tuple[Params, tuple[State, dict[str, Array]]]:
        """Compute the gradient by a transform of the loss of one example.

        A `fnn.training.PerExampleGradient` begins with the state of its `init`, and its
        next state is dropped; `per_example_gradient_with_state` takes and returns them.

        Args:
            gradient: The transform.
            params: Parameters of the model.
            state: State of the model, which must not change in training.
            batch: `(x, y)` or `(x, y, mask)`; the mask, (B,), holds booleans.
            key: A typed key.

        Returns:
            The gradient, a tree like the parameters, and the pair of state and metrics.

        Raises:
            TypeError: If the weights are not booleans.
            ValueError: If the model or the augmentation couples the examples, or the
                model changes its state.
        """
        gradient_state = initial_gradient_state(gradient, params)
        grads, (state, metrics, _) = self.per_example_gradient_with_state(
            gradient, gradient_state, params, state, batch, key
        )
        return grads, (state, metrics)

    def per_example_gradient_with_state(
        self,
        gradient: AnyGradient,
        gradient_state: PyTree,
        params: Params,
        state: State,
        batch: tuple[PyTree, ...],
        key: Key,
    ) -> tuple[Params, tuple[State, dict[str, Array], PyTree]]:
        """Compute the gradient by a transform of the loss of one example, and its state.

        The examples see the same keys as when the objective is called. The regularizer,
        which sees no example, adds its own gradient afterwards.

        Args:
            gradient: The transform.
            gradient_state: Its state; `()` if it has none.
            params: Parameters of the model.
            state: State of the model, which must not change in training.
            batch: `(x, y)` or `(x, y, mask)`; the mask, (B,), holds booleans.
            key: A typed key.

        Returns:
            The gradient, a tree like the parameters, and the triple of state, metrics and
            the next state of the gradient. Metrics are means over the examples that
            count, NaN if none does; `"clipped"` is the share of these that were clipped,
            and `"gradient_norm"` the mean norm of their gradients.

        Raises:
            TypeError: If the weights are not booleans.
            ValueError: If the model or the augmentation couples the examples, or the
                model changes its state.
        """
        x, y, *weights = _parts(batch)
        mask = _as_mask(*weights)
        if isinstance(self.augment, BatchAugmentation):
            raise ValueError(
                f"per-example gradients need examples that are independent, and "
                f"{show(self.augment)} mixes those of a batch"
            )
        gradient_key = jax.random.fold_in(key, GRADIENT_KEY)
        x, y, key = self._augmented(x, y, key)
        keys = jax.random.split(key, checks.leading_length(x, "x"))

        def loss(
            params: Params, x: PyTree, y: PyTree, key: Key
        ) -> tuple[Array, dict[str, Array]]:
            output, new = self.model.apply(params, state, x, key=key, train=True)
            _check_kept(state, new)
            value = self.loss(output, y)
            return value, {name: metric(output, y) for name, metric in self.metrics}

        result, gradient_state = with_state(gradient, loss)(
            gradient_state, params, x, y, keys, mask=mask, key=gradient_key
        )
        grads, metrics = result.gradient, {"loss": _mean(result.losses, result.counted)}
        if self.regularizer is not None:
            metrics["penalty"], penalty_grads = jax.value_and_grad(self.regularizer)(params)
            grads = tree.add(grads, penalty_grads)
        for name, values in result.aux.items():
            metrics[name] = _mean(values, result.counted)
        metrics["clipped"] = result.clipped
        metrics["gradient_norm"] = _mean(result.norms, result.counted)
        return grads, (state, metrics, gradient_state)

    def _augmented(
        self, x: PyTree, y: PyTree, key: Key, weights: Array | None = None
    ) -> tuple[PyTree, PyTree, Key]:
        """Return the batch, changed at random if there is an augmentation, and a key."""
        if self.augment is None:
            return x, y, key
        key, augment_key = jax.random.split(key)
        if isinstance(self.augment, BatchAugmentation):
            if weights is not None:
                x, y = refilled((x, y), weights)
            return *self.augment(augment_key, x, y), key
        keys = jax.random.split(augment_key, checks.leading_length(x, "x"))
        return jax.vmap(self.augment)(keys, x), y, key

    def weight(self, batch: tuple[PyTree, ...]) -> Array:
        """Return Σᵢ wᵢ, (): the weight of this batch's mean in an average over batches."""
        x, _, *weights = batch
        return jnp.sum(weights[0], dtype=jnp.result_type(float)) if weights else count(x)

    def may_be_empty(self, batch: tuple[PyTree, ...]) -> bool:
        """Return whether a batch has weights, which may all be 0."""
        return len(batch) > 2


def supervised(
    model: Layer,
    loss: Metric,
    *,
    metrics: Mapping[str, Metric] | None = None,
    regularizer: Callable[[Params], Array] | None = None,
    augment: Augmentation | None = None,
) -> Supervised:
    """Make the objective of supervised learning: 1/B Σᵢ loss(f(xᵢ), yᵢ) + Ω(params).

    Args:
        model: The model of one example.
        loss: A function of the output and the target of one example, ().
        metrics: Further functions like `loss` to report, by name.
        regularizer: Ω, a function of the parameters, added to the mean loss and
            reported as `"penalty"`.
        augment: Changes one input at random in training: `(key, x) -> x`; or a
            `fnn.data.BatchAugmentation`, which changes a batch: `(key, x, y) -> (x, y)`.

    Returns:
        A value that is called `(params, state, batch, key)` and returns
        `(objective, (state, metrics))`. Any such function can be trained.

    Raises:
        TypeError: If the model is batched already or is not a layer, or if another
            argument is not a function.
        ValueError: If a metric is named `"loss"`, `"penalty"`, `"clipped"` or
            `"gradient_norm"`.

    Example:
        >>> objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error)
        >>> params = {"kernel": jax.numpy.zeros((1, 1)), "bias": jax.numpy.zeros(1)}
        >>> batch = jax.numpy.ones((3, 1)), jax.numpy.array([1.0, 2.0, 3.0])
        >>> loss, (state, metrics) = objective(params, {}, batch, jax.random.key(0))
        >>> print(f"{loss:.4f}")  # (1 + 4 + 9) / 3
        4.6667
    """
    check_model(model)
    check_callable(loss, "loss", "(output, target) of one example")
    if metrics is not None:
        check_functions(metrics, "metrics")
    if regularizer is not None:
        check_callable(regularizer, "regularizer", "the parameters")
    if augment is not None:
        _check_augmentation(augment)
    pairs = tuple((metrics or {}).items())
    if reserved := set(REPORTED) & set(dict(pairs)):
        raise ValueError(f"metrics can't be named {sorted(reserved)}: fnn reports those")
    return Supervised(model, loss, pairs, regularizer, augment)


def _check_augmentation(augment: Any) -> None:
    """Raise unless `augment` changes one input, or a batch."""
    if isinstance(augment, list | tuple):
        raise TypeError(
            f"augment must be one function, got {checks.describe(augment)}; several are "
            f"applied one after the other by fnn.data.Augmentations(...), or by "
            f"fnn.data.BatchAugmentations(...) where one of them mixes a batch"
        )
    check_callable(augment, "augment", "(key, x)")


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
    """Return Σᵢ wᵢ metric(outputᵢ, targetᵢ) / Σᵢ wᵢ, the weights being 1 by default.

    The mean is summed and returned in float32 at least.
    """
    values = jax.vmap(metric)(outputs, targets)
    if values.ndim != 1:
        raise ValueError(
            f"a loss or metric must give one number for one example; "
            f"{show(metric)} gives an array of shape {values.shape[1:]}"
        )
    return _mean(values, weights)


def _mean(values: Array, weights: Array | None) -> Array:
    """Return the weighted mean; a value of weight 0 may be NaN."""
    values = as_dtype(values, mean_dtype(values.dtype))
    if weights is None:
        return jnp.mean(values)
    weights = as_dtype(weights, values.dtype)
    return jnp.sum(jnp.where(weights == 0, 0, weights * values)) / jnp.sum(weights)


def _parts(batch: Any) -> tuple[PyTree, ...]:
    """Return a batch as it is, or raise unless it is a tuple of two or three."""
    if isinstance(batch, tuple | list) and len(batch) in (2, 3):
        return tuple(batch)
    raise TypeError(
        f"a batch must be (x, y) or (x, y, weights), got {checks.describe(batch)}"
    )


def _as_mask(weights: Array | None = None) -> Array | None:
    """Return the weights of a batch as a mask of examples, or None if there are none."""
    if weights is not None and weights.dtype != bool:
        raise TypeError(
            f"per-example gradients need weights that are booleans, which say which "
            f"examples count; got {checks.describe(weights)}; weight the loss itself "
            f"instead"
        )
    return weights


def _check_kept(state: State, new: State) -> None:
    """Raise unless a model returns the state that it was given."""
    old = tree.flatten(state)
    for path, leaf in tree.flatten(new).items():
        if leaf is not old.get(path):
            layer = path.rpartition("/")[0]
            where = f"layer {layer!r}" if layer else "the model"
            raise ValueError(
                f"per-example gradients need a model whose state stays as it is in "
                f"training, and {where} changes {path!r}; use a layer without state, such "
                f"as fnn.GroupNorm, or apply it with train=False, by its stored statistics"
            )


def check_functions(functions: Any, name: str) -> None:
    """Raise unless `functions` maps names to functions of an output and a target."""
    example = "{'accuracy': fnn.metrics.accuracy}"
    if not isinstance(functions, Mapping):
        raise TypeError(
            f"{name} must be a mapping from names to functions, such as {example}; "
            f"got {checks.describe(functions)}"
        )
    for label, function in functions.items():
        if not isinstance(label, str):
            raise TypeError(f"{name} must have strings as names, got {label!r}")
        check_callable(function, f"{name}[{label!r}]", "(output, target) of one example")


def check_callable(function: Any, name: str, arguments: str) -> None:
    """Raise unless `function` can be called and is not a class."""
    if isinstance(function, type):
        raise TypeError(f"{name} is the class {show(function)}; give an instance of it")
    if not callable(function):
        raise TypeError(
            f"{name} must be a function of {arguments}, got {checks.describe(function)}"
        )


def may_be_empty(objective: Any, batch: PyTree) -> bool:
    """Return whether the weight of a batch may be 0, so that a step must look at it.

    It may for any objective with a method `weight`, unless its method `may_be_empty`
    returns False for the batch.
    """
    asked = getattr(objective, "may_be_empty", None)
    return hasattr(objective, "weight") and (asked is None or asked(batch))


def count(batch: PyTree) -> Array:
    """Return the number of examples of a batch, ()."""
    return jnp.asarray(float(checks.leading_length(batch, "a batch")))
