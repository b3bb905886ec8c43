"""Layers that are linear maps, or only arrange their input."""

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.initializers import lecun_normal, zeros
from fnn.layers.base import Layer
from fnn.types import Array, Initializer, Key, Params, PyTree, State


class Dense(Layer):
    """Map features linearly: y = x W + b.

    W is `kernel`, (in, features), and b `bias`, (features,). The map acts on the last
    axis of x, (..., in); further axes are positions, not examples.

    Args:
        features: The number of output features.
        bias: Whether to add a bias.
        kernel_init: Makes the kernel; called `(key, shape, dtype)`.
        bias_init: Makes the bias.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the last axis of x is not what the kernel was made for.

    Example:
        >>> layer = fnn.Dense(2)
        >>> params, state = layer.init(jax.random.key(0), jax.numpy.ones(3))
        >>> jax.tree.map(jax.numpy.shape, params)
        {'bias': (2,), 'kernel': (3, 2)}
        >>> layer(params, jax.numpy.ones(3)).shape
        (2,)
    """

    features: int
    bias: bool = True
    kernel_init: Initializer = lecun_normal
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        self._set(features=checks.positive_integer("features", self.features))

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        checks.typed_key(key, "Dense.init")
        dtype = checks.floating("Dense", x)
        if not x.shape:
            raise ValueError("Dense takes x of shape (..., in), got a scalar")
        kernel_key, bias_key = jax.random.split(key)
        kernel = self.kernel_init(kernel_key, (x.shape[-1], self.features), dtype)
        if not self.bias:
            return {"kernel": kernel}, {}
        bias = self.bias_init(bias_key, (self.features,), dtype)
        return {"kernel": kernel, "bias": bias}, {}

    def forward(self, params: Params, x: Array) -> Array:
        kernel = params["kernel"]
        checks.floating("Dense", x)
        if jnp.shape(x)[-1:] != kernel.shape[:1]:
            raise ValueError(_mismatch(x, kernel))
        y = x @ kernel
        if not self.bias:
            return y
        return y + jnp.expand_dims(params["bias"], tuple(range(y.ndim - 1)))


class Flatten(Layer):
    """Arrange all axes of an example in one: (28, 28, 1) becomes (784,).

    Example:
        >>> fnn.Flatten()({}, jax.numpy.ones((28, 28, 1))).shape
        (784,)
    """

    def forward(self, params: Params, x: Array) -> Array:
        return jnp.ravel(x)


def _mismatch(x: Array, kernel: Array) -> str:
    features = kernel.shape[0]
    message = (
        f"Dense was initialized for x of shape (..., {features}), its kernel being "
        f"{checks.describe(kernel)}; got x {checks.describe(x)}"
    )
    if x.size == features:
        return f"{message}; put fnn.Flatten() before it"
    if x.size > 0 and x.size % features == 0:
        return (
            f"{message}; if x is a batch of {x.size // features} examples, use "
            f"fnn.batched(model), which applies a model to each of them"
        )
    return message
