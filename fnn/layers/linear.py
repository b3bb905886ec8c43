"""Linear maps, and layers that rearrange their input."""

import math

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.initializers import lecun_normal, zeros
from fnn.layers.base import Layer
from fnn.platforms import traced_once
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
        ValueError: If the last axis of x is not the one that the kernel was made for.

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
        checks.options(self)
        self._set(features=checks.positive_integer("features", self.features))

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        bias_init = self.bias_init if self.bias else None
        return init_affine("Dense", key, x, self.features, self.kernel_init, bias_init), {}

    def forward(self, params: Params, x: Array) -> Array:
        bias = params["bias"] if self.bias else None
        return affine("Dense", x, params["kernel"], bias)


class Maxout(Layer):
    """Take the largest of several linear maps: yₖ = maxⱼ (x Wⱼ + bⱼ)ₖ.

    Each output is a convex, piecewise linear function of x, and its shape is learned. The
    maps are side by side in `kernel`, (in, pieces · features), as (W₁ | W₂ | ...), and
    in `bias`, (pieces · features,). They act on the last axis of x, as in `Dense`.

    Source: Goodfellow et al. 2013, "Maxout networks".

    Args:
        features: The number of output features.
        pieces: The number of linear maps for each output.
        bias: Whether to add a bias.
        kernel_init: Makes the kernel; called `(key, shape, dtype)`.
        bias_init: Makes the bias.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the last axis of x is not the one that the kernel was made for.

    Example:
        >>> layer = fnn.Maxout(1, pieces=2, bias=False)  # |x|, as max(x, -x):
        >>> params = {"kernel": jax.numpy.array([[1.0, -1.0]])}
        >>> layer(params, jax.numpy.array([-3.0]))
        Array([3.], dtype=float32)
    """

    features: int
    pieces: int
    bias: bool = True
    kernel_init: Initializer = lecun_normal
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        checks.options(self)
        self._set(features=checks.positive_integer("features", self.features))
        self._set(pieces=checks.positive_integer("pieces", self.pieces))

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        out = self.pieces * self.features
        bias_init = self.bias_init if self.bias else None
        return init_affine("Maxout", key, x, out, self.kernel_init, bias_init), {}

    def forward(self, params: Params, x: Array) -> Array:
        bias = params["bias"] if self.bias else None
        z = affine("Maxout", x, params["kernel"], bias)
        return jnp.max(z.reshape(*z.shape[:-1], self.pieces, self.features), axis=-2)


class Flatten(Layer):
    """Arrange all axes of an example in one: (28, 28, 1) becomes (784,).

    Example:
        >>> fnn.Flatten()({}, jax.numpy.ones((28, 28, 1))).shape
        (784,)
    """

    def forward(self, params: Params, x: Array) -> Array:
        return jnp.ravel(x)


class Reshape(Layer):
    """Arrange the elements of an example in another shape, in row-major order.

    Args:
        shape: The shape of the output. One length may be -1; it follows from the others.

    Raises:
        ValueError: If the shape is invalid, or x does not have that number of elements.

    Example:
        >>> fnn.Reshape((28, 28, 1))({}, jax.numpy.ones(784)).shape
        (28, 28, 1)
        >>> fnn.Reshape((-1, 3))({}, jax.numpy.ones((2, 2, 3))).shape
        (4, 3)
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple | list):
            raise ValueError(f"shape must be a tuple of integers, got {self.shape!r}")
        what = f"a length in the shape {self.shape}, unless it is -1,"
        lengths = (n if n == -1 else checks.positive_integer(what, n) for n in self.shape)
        self._set(shape=tuple(lengths))
        if self.shape.count(-1) > 1:
            raise ValueError(f"shape must hold -1 at most once, got {self.shape}")

    def forward(self, params: Params, x: Array) -> Array:
        known = math.prod(n for n in self.shape if n != -1)
        fits = x.size % known == 0 if -1 in self.shape else x.size == known
        if not fits:
            raise ValueError(
                f"Reshape can't arrange the {x.size} elements of x {checks.describe(x)} "
                f"in the shape {self.shape}"
            )
        return jnp.reshape(x, self.shape)


def init_affine(
    owner: str,
    key: Key,
    x: Array,
    features: int,
    kernel_init: Initializer,
    bias_init: Initializer | None,
) -> Params:
    """Make `kernel`, (in, features), and `bias` unless its initializer is None."""
    checks.typed_key(key, f"{owner}.init")
    dtype = checks.floating(owner, x)
    if not x.shape:
        raise ValueError(f"{owner} takes x of shape (..., in), got a scalar")
    kernel_key, bias_key = jax.random.split(key)
    kernel = kernel_init(kernel_key, (x.shape[-1], features), dtype)
    if bias_init is None:
        return {"kernel": kernel}
    return {"kernel": kernel, "bias": bias_init(bias_key, (features,), dtype)}


def affine(owner: str, x: Array, kernel: Array, bias: Array | None) -> Array:
    """Return x W + b, or raise if x does not fit the kernel of `owner`."""
    checks.floating(owner, x)
    if jnp.shape(x)[-1:] != kernel.shape[:1]:
        raise ValueError(_mismatch(owner, x, kernel))
    return _affine(x, kernel, bias)


@traced_once()
def _affine(x: Array, kernel: Array, bias: Array | None) -> Array:
    y = x @ kernel
    return y if bias is None else y + jnp.expand_dims(bias, tuple(range(y.ndim - 1)))


def _mismatch(owner: str, x: Array, kernel: Array) -> str:
    features = kernel.shape[0]
    message = (
        f"{owner} was initialized for x of shape (..., {features}), its kernel being "
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
