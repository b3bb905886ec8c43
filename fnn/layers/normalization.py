"""Normalization of features to mean 0 and variance 1, over a batch or in one example."""

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.initializers import ones, zeros
from fnn.layers.base import Layer
from fnn.platforms import traced_once
from fnn.types import Array, Initializer, Key, Params, State, wide


class BatchNorm(Layer):
    """Normalize each feature over a batch: y = scale (x - μ) / √(σ² + eps) + shift.

    In training, the mean μ and the variance σ² of each feature, the last axis of x, are
    taken over the batch and all other axes of x. The state keeps running averages of them,
    in float32 at least, which begin at 0 and 1. Inference uses these averages:

        running ← momentum · running + (1 - momentum) · batch

    The layer couples the examples of a batch. So training needs the batch axis by its
    name, which `fnn.batched` and `fnn.fit` provide, and per-example gradients do not exist
    through it. `GroupNorm` has neither limit.

    Source: Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training
    by reducing internal covariate shift".

    Args:
        axis_name: The name of the batch axis.
        momentum: The share of the running averages that a step keeps, from 0 to 1.
        eps: Added to the variance; above 0, it keeps constant features finite.
        scale: Whether to multiply each feature by a parameter.
        shift: Whether to add a parameter to each feature.
        unbiased: Whether the running variance averages σ² n / (n - 1), as in the paper,
            where n is the number of values. By default it averages σ², so that inference
            agrees with training.
        scale_init: Makes the scale; called `(key, shape, dtype)`.
        shift_init: Makes the shift.

    Raises:
        TypeError: If x is not floating-point, or the layer is called without its state.
        ValueError: If no axis has this name in training, or the features are not those
            that the layer was initialized for.

    Example:
        >>> model = fnn.batched(fnn.BatchNorm(momentum=0.5))
        >>> x = jax.numpy.array([[1.0], [3.0]])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> y, state = model.apply(params, state, x, train=True)
        >>> print(y.round(2))
        [[-1.]
         [ 1.]]
        >>> print(state["mean"].round(2), state["variance"].round(2))
        [1.] [1.]
    """

    axis_name: str = "batch"
    momentum: float = 0.9
    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    unbiased: bool = False
    scale_init: Initializer = ones
    shift_init: Initializer = zeros

    def __post_init__(self) -> None:
        if not isinstance(self.axis_name, str):
            raise TypeError(
                f"axis_name must be the name of the batch axis, got {self.axis_name!r}; "
                f"the number of features is taken from x"
            )
        checks.between("momentum", self.momentum, 0, 1)
        checks.between("eps", self.eps, 0, 1)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        params = _init(self, key, x)
        shape, dtype = x.shape[-1:], wide(checks.floating("BatchNorm", x))
        return params, {"mean": jnp.zeros(shape, dtype), "variance": jnp.ones(shape, dtype)}

    def apply(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[Array, State]:
        _check(self, x, {"mean": state["mean"], "variance": state["variance"]} | params)
        return self._normalize(train, params, state, x)

    @traced_once(static=(0, 1))
    def _normalize(self, train: bool, params: Params, state: State, x: Array) -> Any:
        mean, variance, z = state["mean"], state["variance"], _widen(x)
        if train:
            mean = self._over_batch(z)
            variance = self._over_batch(jnp.square(z - _per_feature(mean, z)))
            n = math.prod(x.shape[:-1]) * jax.lax.axis_size(self.axis_name)
            kept = variance * (n / max(n - 1, 1)) if self.unbiased else variance
            new = {"mean": mean, "variance": kept}
            state = {name: _average(self.momentum, state[name], new[name]) for name in new}
        factor = _inverse_root(_per_feature(variance, z), self.eps)
        return _affine(self, params, z - _per_feature(mean, z), x, factor), state

    def _over_batch(self, z: Array) -> Array:
        """Return the mean of each feature over the batch and the other axes of x."""
        try:
            return jax.lax.pmean(jnp.mean(z, tuple(range(z.ndim - 1))), self.axis_name)
        except NameError as error:
            raise ValueError(
                f"BatchNorm in training takes statistics over the batch axis "
                f"{self.axis_name!r}, which is not bound here: "
                f"fnn.batched(model, {self.axis_name!r}) binds it, and fnn.fit binds "
                f"'batch'. Per-example gradients do not exist through batch "
                f"normalization, which couples the examples; use fnn.GroupNorm, or "
                f"train=False for the stored statistics"
            ) from error


class LayerNorm(Layer):
    """Normalize over the features: y = scale (x - μ) / √(σ² + eps) + shift.

    μ and σ² are the mean and the variance along the last axis of x, for each position
    alone, computed in float32 at least.

    Source: Ba et al. 2016, "Layer normalization".

    Args:
        eps: Added to the variance; above 0, it keeps constant inputs finite.
        scale: Whether to multiply each feature by a parameter.
        shift: Whether to add a parameter to each feature.
        scale_init: Makes the scale; called `(key, shape, dtype)`.
        shift_init: Makes the shift.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the features are not those that the layer was initialized for.

    Example:
        >>> layer = fnn.LayerNorm()
        >>> x = jax.numpy.array([1.0, 2.0, 3.0])
        >>> params, _ = layer.init(jax.random.key(0), x)
        >>> print(layer(params, x).round(2))
        [-1.22  0.    1.22]
    """

    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    scale_init: Initializer = ones
    shift_init: Initializer = zeros

    def __post_init__(self) -> None:
        checks.between("eps", self.eps, 0, 1)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        return _init(self, key, x), {}

    def forward(self, params: Params, x: Array) -> Array:
        _check(self, x, params)
        z, factor = _centre(_widen(x), (-1,), self.eps)
        return _affine(self, params, z * factor, x)


class RMSNorm(Layer):
    """Divide by the root mean square: y = scale x / √(mean(x²) + eps).

    The mean is along the last axis of x, the features, for each position alone, in float32
    at least. Unlike `LayerNorm`, it subtracts nothing.

    Source: Zhang & Sennrich 2019, "Root mean square layer normalization".

    Args:
        eps: Added to the mean square; above 0, it keeps an input of zeros finite.
        scale: Whether to multiply each feature by a parameter.
        shift: Whether to add a parameter to each feature at the end.
        scale_init: Makes the scale; called `(key, shape, dtype)`.
        shift_init: Makes the shift.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the features are not those that the layer was initialized for.

    Example:
        >>> layer = fnn.RMSNorm()
        >>> x = jax.numpy.array([3.0, 3.0, 1.0, 1.0, 0.0])  # mean(x²) = 4
        >>> params, _ = layer.init(jax.random.key(0), x)
        >>> print(layer(params, x).round(2))
        [1.5 1.5 0.5 0.5 0. ]
    """

    eps: float = 1e-5
    scale: bool = True
    shift: bool = False
    scale_init: Initializer = ones
    shift_init: Initializer = zeros

    def __post_init__(self) -> None:
        checks.between("eps", self.eps, 0, 1)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        return _init(self, key, x), {}

    def forward(self, params: Params, x: Array) -> Array:
        _check(self, x, params)
        z = _widen(x)
        factor = _inverse_root(jnp.mean(jnp.square(z), -1, keepdims=True), self.eps)
        return _affine(self, params, z * factor, x)


class GroupNorm(Layer):
    """Normalize over groups of features: y = scale (x - μ) / √(σ² + eps) + shift.

    The last axis of x is divided into `groups` runs of equal length. μ and σ² are the mean
    and the variance of a group over its features and all other axes of x, in float32 at
    least. With one group they are taken over the whole example.

    Source: Wu & He 2018, "Group normalization".

    Args:
        groups: The number of groups, which divides the number of features.
        eps: Added to the variance; above 0, it keeps constant groups finite.
        scale: Whether to multiply each feature by a parameter.
        shift: Whether to add a parameter to each feature.
        scale_init: Makes the scale; called `(key, shape, dtype)`.
        shift_init: Makes the shift.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the number of features is not a multiple of `groups`, or not the
            number that the layer was initialized for.

    Example:
        >>> layer = fnn.GroupNorm(2)
        >>> x = jax.numpy.array([1.0, 3.0, 50.0, 70.0])
        >>> params, _ = layer.init(jax.random.key(0), x)
        >>> print(layer(params, x).round(2))
        [-1.  1. -1.  1.]
    """

    groups: int
    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    scale_init: Initializer = ones
    shift_init: Initializer = zeros

    def __post_init__(self) -> None:
        self._set(groups=checks.positive_integer("groups", self.groups))
        checks.between("eps", self.eps, 0, 1)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        self._group_size(x, {})
        return _init(self, key, x), {}

    def forward(self, params: Params, x: Array) -> Array:
        size = self._group_size(x, params)
        z = _widen(x).reshape(*x.shape[:-1], self.groups, size)
        z, factor = _centre(z, (*range(x.ndim - 1), -1), self.eps)
        return _affine(self, params, z, x, factor)

    def _group_size(self, x: Array, params: Params) -> int:
        _check(self, x, params)
        size, rest = divmod(x.shape[-1], self.groups)
        if rest:
            raise ValueError(
                f"GroupNorm can't make {self.groups} groups of one size from "
                f"{x.shape[-1]} features, the last axis of x {checks.describe(x)}"
            )
        return size


class InstanceNorm(Layer):
    """Normalize each feature over positions: y = scale (x - μ) / √(σ² + eps) + shift.

    μ and σ² are the mean and the variance of a feature, the last axis of x, over all other
    axes of x, in float32 at least. This is `GroupNorm` with one group for each feature.

    Source: Ulyanov et al. 2016, "Instance normalization: the missing ingredient for fast
    stylization".

    Args:
        eps: Added to the variance; above 0, it keeps constant features finite.
        scale: Whether to multiply each feature by a parameter.
        shift: Whether to add a parameter to each feature.
        scale_init: Makes the scale; called `(key, shape, dtype)`.
        shift_init: Makes the shift.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If x has no axis besides the features, or the features are not those
            that the layer was initialized for.

    Example:
        >>> layer = fnn.InstanceNorm()
        >>> x = jax.numpy.array([[1.0, 50.0], [3.0, 70.0]])
        >>> params, _ = layer.init(jax.random.key(0), x)
        >>> print(layer(params, x).round(2))
        [[-1. -1.]
         [ 1.  1.]]
    """

    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    scale_init: Initializer = ones
    shift_init: Initializer = zeros

    def __post_init__(self) -> None:
        checks.between("eps", self.eps, 0, 1)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        _check(self, x, {}, "positions, features")
        return _init(self, key, x), {}

    def forward(self, params: Params, x: Array) -> Array:
        _check(self, x, params, "positions, features")
        z, factor = _centre(_widen(x), tuple(range(x.ndim - 1)), self.eps)
        return _affine(self, params, z, x, factor)


Normalization: TypeAlias = BatchNorm | LayerNorm | RMSNorm | GroupNorm | InstanceNorm


def _init(layer: Normalization, key: Key, x: Array) -> Params:
    """Make the scale and the shift that the layer asks for, (features,) each."""
    owner = type(layer).__name__
    checks.typed_key(key, f"{owner}.init")
    _check(layer, x, {})
    shape, dtype = x.shape[-1:], checks.floating(owner, x)
    scale_key, shift_key = jax.random.split(key)
    params = {}
    if layer.scale:
        params["scale"] = layer.scale_init(scale_key, shape, dtype)
    if layer.shift:
        params["shift"] = layer.shift_init(shift_key, shape, dtype)
    return params


def _widen(x: Array) -> Array:
    x = jnp.asarray(x)
    return x.astype(wide(x.dtype))


def _centre(z: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Return z - μ and 1 / √(σ² + eps), with statistics over the axes."""
    z = z - jnp.mean(z, axes, keepdims=True)
    return z, _inverse_root(jnp.mean(jnp.square(z), axes, keepdims=True), eps)


def _inverse_root(variance: Array, eps: float) -> Array:
    return jax.lax.rsqrt(variance + jnp.asarray(eps, variance.dtype))


def _affine(
    layer: Normalization, params: Params, z: Array, x: Array, factor: Array | None = None
) -> Array:
    """Return factor scale z + shift, with the shape and dtype of x.

    Pass a factor apart from z if it is smaller than z. It is then multiplied by the scale
    first, which saves the gradient a pass over z. For example, z is (H, W, groups, size)
    and the factor (1, 1, groups, 1).
    """
    if layer.scale:
        scale = _per_feature(params["scale"], z, x.ndim - 1)
        factor = scale if factor is None else factor * scale
    y = (z if factor is None else z * factor).reshape(x.shape)
    if layer.shift:
        y = y + _per_feature(params["shift"], y)
    return y.astype(jnp.result_type(x))


def _per_feature(values: Array, z: Array, axis: int = -1) -> Array:
    """Shape (features,) to broadcast with z, whose features begin at `axis`.

    For z of (H, W, groups, size) and axis 2, the result is (1, 1, groups, size).
    """
    shape = z.shape[axis:]
    return values.astype(z.dtype).reshape((1,) * (z.ndim - len(shape)) + shape)


def _average(momentum: float, running: Array, batch: Array) -> Array:
    m = jnp.asarray(momentum, batch.dtype)
    return (m * running.astype(batch.dtype) + (1 - m) * batch).astype(running.dtype)


def _check(layer: Layer, x: Array, held: dict[str, Array], axes: str = "features") -> None:
    """Raise unless x is floating-point, has the axes, and has the features held."""
    owner = type(layer).__name__
    checks.floating(owner, x)
    if len(x.shape) < len(axes.split(", ")):
        raise ValueError(
            f"{owner} takes x of shape (..., {axes}), got {checks.describe(x)}"
        )
    for name, array in held.items():
        if jnp.shape(array) != x.shape[-1:]:
            raise ValueError(
                f"{owner} was initialized for other features: its {name} is "
                f"{checks.describe(array)}, got x {checks.describe(x)}"
            )
