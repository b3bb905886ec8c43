"""Layers that are random in training."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.initializers import lecun_normal, zeros
from fnn.layers.base import Layer
from fnn.layers.linear import affine, init_affine
from fnn.types import Array, Initializer, Key, Params, Shape, State


class Perturbation(Layer):
    """A layer that changes x at random in training, and not at inference."""

    def apply(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[Array, State]:
        self.check(x)
        if not train:
            return x, state
        key = checks.typed_key(key, f"{type(self).__name__} in training")
        return self.perturb(key, x), state

    def check(self, x: Array) -> None:
        """Raise unless x is floating-point."""
        checks.floating(type(self).__name__, x)

    def perturb(self, key: Key, x: Array) -> Array:
        """Return x, changed at random, for training."""
        raise TypeError(f"{type(self).__name__} does not define perturb")


class Dropout(Perturbation):
    """Set elements to zero at random in training: y = x m / (1 - rate).

    Each element of the mask m is 0 with probability `rate`, else 1, so the expected output
    is x. At inference y = x.

    All elements along the shared axes have the same mask. With `shared_axes=(0, 1)`, whole
    channels of an image, (height, width, channels), are dropped or kept.

    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks
    from overfitting"; for whole channels, Tompson et al. 2015, "Efficient object
    localization using convolutional networks".

    Args:
        rate: The probability of dropping an element, from 0 to 1.
        shared_axes: The axes of x along which the mask does not vary; negative ones
            count from the last.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the rate is not a probability, x lacks a shared axis, or no key
            is given in training.

    Example:
        >>> layer = fnn.Dropout(0.5)
        >>> y, _ = layer.apply({}, {}, jax.numpy.ones(4), key=jax.random.key(1), train=True)
        >>> sorted(set(y.tolist()))
        [0.0, 2.0]
        >>> layer({}, jax.numpy.ones(4))
        Array([1., 1., 1., 1.], dtype=float32)
    """

    rate: float
    shared_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        checks.between("rate", self.rate, 0, 1)
        axes: Any = self.shared_axes
        if not isinstance(axes, tuple | list) or not all(type(a) is int for a in axes):
            raise ValueError(f"shared_axes must be a tuple of integers, got {axes!r}")
        self._set(shared_axes=tuple(axes))

    def check(self, x: Array) -> None:
        super().check(x)
        for axis in self.shared_axes:
            if not -x.ndim <= axis < x.ndim:
                raise ValueError(
                    f"Dropout shares its mask along the axes {self.shared_axes}, and x "
                    f"{checks.describe(x)} has no axis {axis}"
                )

    def perturb(self, key: Key, x: Array) -> Array:
        shape = list(x.shape)
        for axis in self.shared_axes:
            shape[axis] = 1
        return _drop(key, self.rate, x, tuple(shape))


class DropConnect(Layer):
    """Map features linearly, less some weights: y = x (M ∘ W) / (1 - rate) + b.

    This is a `Dense` layer that drops weights, but not biases, at random in training. The
    elements of the mask M are 0 with probability `rate`, else 1, so the expected output is
    that of `Dense`. At inference it is `Dense`. Each example of a batch draws its own mask,
    which takes the memory of a kernel.

    Source: Wan et al. 2013, "Regularization of neural networks using DropConnect".

    Args:
        features: The number of output features.
        rate: The probability of dropping a weight, from 0 to 1.
        bias: Whether to add a bias.
        kernel_init: Makes the kernel; called `(key, shape, dtype)`.
        bias_init: Makes the bias.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the rate is not a probability, the last axis of x is not the one
            that the kernel was made for, or no key is given in training.

    Example:
        >>> layer = fnn.DropConnect(1, 0.5)
        >>> params = {"kernel": jax.numpy.ones((4, 1)), "bias": jax.numpy.zeros(1)}
        >>> layer(params, jax.numpy.ones(4))
        Array([4.], dtype=float32)
        >>> y, _ = layer.apply(
        ...     params, {}, jax.numpy.ones(4), key=jax.random.key(0), train=True
        ... )
        >>> y[0] in (0, 2, 4, 6, 8)
        True
    """

    features: int
    rate: float
    bias: bool = True
    kernel_init: Initializer = lecun_normal
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        checks.options(self)
        self._set(features=checks.positive_integer("features", self.features))
        checks.between("rate", self.rate, 0, 1)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        bias_init = self.bias_init if self.bias else None
        params = init_affine(
            "DropConnect", key, x, self.features, self.kernel_init, bias_init
        )
        return params, {}

    def apply(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[Array, State]:
        kernel = params["kernel"]
        if train:
            key = checks.typed_key(key, "DropConnect in training")
            kernel = _drop(key, self.rate, kernel, kernel.shape)
        bias = params["bias"] if self.bias else None
        return affine("DropConnect", x, kernel, bias), state


class StochasticDepth(Perturbation):
    """Drop all of x at once at random in training: y = x m / (1 - rate).

    m is one number for each example, 0 with probability `rate`, else 1, so the expected
    output is x. At inference y = x. (The paper does not divide in training, but scales at
    inference.)

    Put it last in a residual branch, to drop the whole branch:

        fnn.Residual(fnn.Sequential(..., fnn.StochasticDepth(rate)))

    In the paper the rate grows linearly with depth: block l of L has the rate
    l / L · rate_L.

    Source: Huang et al. 2016, "Deep networks with stochastic depth".

    Args:
        rate: The probability of dropping x, from 0 to 1.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the rate is not a probability, or if no key is given in training.

    Example:
        >>> block = fnn.Residual(fnn.Sequential(jax.nn.relu, fnn.StochasticDepth(0.5)))
        >>> x = jax.numpy.ones(3)
        >>> y, _ = block.apply({}, {}, x, key=jax.random.key(0), train=True)
        >>> y.tolist() in ([1.0, 1.0, 1.0], [3.0, 3.0, 3.0])
        True
        >>> block({}, x)
        Array([2., 2., 2.], dtype=float32)
    """

    rate: float

    def __post_init__(self) -> None:
        checks.between("rate", self.rate, 0, 1)

    def perturb(self, key: Key, x: Array) -> Array:
        return _drop(key, self.rate, x, ())


class GaussianNoise(Perturbation):
    """Add normal noise in training: y = x + std · ε, ε ~ N(0, 1). At inference y = x.

    Source: Bishop 1995, "Training with noise is equivalent to Tikhonov regularization".

    Args:
        std: The standard deviation of the noise, drawn for each element.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If `std` is negative, or if no key is given in training.

    Example:
        >>> layer = fnn.GaussianNoise(0.1)
        >>> x = jax.numpy.zeros(1000)
        >>> y, _ = layer.apply({}, {}, x, key=jax.random.key(0), train=True)
        >>> print(f"{y.std():.2f}")
        0.10
    """

    std: float

    def __post_init__(self) -> None:
        checks.between("std", self.std, 0, math.inf)

    def perturb(self, key: Key, x: Array) -> Array:
        x = jnp.asarray(x)
        noise = jax.random.normal(key, x.shape, x.dtype)
        return x + jnp.asarray(self.std, x.dtype) * noise


def _drop(key: Key, rate: float, x: Array, shape: Shape) -> Array:
    """Return x m / (1 - rate), with a mask m of a shape that broadcasts to that of x."""
    x, keep = jnp.asarray(x), 1 - rate
    mask = jax.random.bernoulli(key, keep, shape)
    # At rate 1 the mask selects zeros, but the scale must be finite for the gradient.
    scale = 1 / jnp.maximum(keep, float(jnp.finfo(x.dtype).tiny))
    return jnp.where(mask, x * jnp.asarray(scale, x.dtype), jnp.zeros_like(x))
