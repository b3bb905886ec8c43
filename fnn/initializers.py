"""Initial values of parameters, as values that are called `(key, shape, dtype)`.

The named instances, for kernels of shape (..., in, out):

    glorot_normal, glorot_uniform   variance 2 / (fan_in + fan_out)
    he_normal, he_uniform           variance 2 / fan_in
    lecun_normal, lecun_uniform     variance 1 / fan_in
    zeros, ones                     constant

Example:
    >>> kernel = he_normal(jax.random.key(0), (512, 256), "float32")
    >>> print(f"{kernel.var():.4f} = {2 / 512:.4f}")
    0.0039 = 0.0039
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.lazy import explain_missing as _explain_missing
from fnn.types import Array, Key, Shape, wide
from fnn.values import Value

# The variance of a standard normal distribution cut at two standard deviations.
TRUNCATED_VARIANCE = 0.7737413035499232


class VarianceScaling(Value):
    """Draw with mean 0 and variance scale / fan.

    A kernel of shape (..., in, out) has fan_in = r · in and fan_out = r · out, where r
    is the product of the leading axes, those of a convolution's window.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep
    feedforward neural networks"; He et al. 2015, "Delving deep into rectifiers".

    Args:
        scale: The variance times the fan.
        fan: `"in"`, `"out"` or their mean, `"average"`.
        distribution: `"normal"`, `"truncated_normal"` (cut at two standard deviations,
            and widened to keep the variance) or `"uniform"`.

    Raises:
        ValueError: If an argument is invalid, or the shape has fewer than 2 axes.

    Example:
        >>> kernel = fnn.initializers.VarianceScaling(2.0, "in", "uniform")
        >>> kernel(jax.random.key(0), (64, 32), "float32").shape
        (64, 32)
    """

    scale: float
    fan: Literal["in", "out", "average"]
    distribution: Literal["normal", "truncated_normal", "uniform"]

    def __post_init__(self) -> None:
        checks.between("scale", self.scale, 0, math.inf)
        checks.one_of("fan", self.fan, ("in", "out", "average"))
        checks.one_of(
            "distribution",
            self.distribution,
            ("normal", "truncated_normal", "uniform"),
        )

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of `shape`."""
        if len(shape) < 2:
            raise ValueError(
                f"VarianceScaling needs a shape (..., in, out), got {shape}; "
                f"for a vector use Normal or Constant"
            )
        window = math.prod(shape[:-2])
        fan_in, fan_out = window * shape[-2], window * shape[-1]
        fans = {"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}
        std = math.sqrt(self.scale / max(fans[self.fan], 1))
        if self.distribution == "normal":
            return Normal(std)(key, shape, dtype)
        if self.distribution == "truncated_normal":
            wider = std / math.sqrt(TRUNCATED_VARIANCE)
            return TruncatedNormal(wider)(key, shape, dtype)
        bound = math.sqrt(3) * std
        return Uniform(-bound, bound)(key, shape, dtype)


class Normal(Value):
    """Draw from the normal distribution N(0, std²).

    Example:
        >>> fnn.initializers.Normal(0.01)(jax.random.key(0), (2, 3), "float32").shape
        (2, 3)
    """

    std: float = 0.01

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of `shape`."""
        return jnp.asarray(self.std, dtype) * jax.random.normal(key, shape, dtype)


class TruncatedNormal(Value):
    """Draw from N(0, std²), redrawn if beyond two std.

    The variance of the draws is 0.774 std².

    Example:
        >>> draw = fnn.initializers.TruncatedNormal(1.0)
        >>> bool(abs(draw(jax.random.key(0), (1000,), "float32")).max() <= 2)
        True
    """

    std: float = 0.01

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of `shape`."""
        draw = jax.random.truncated_normal(key, -2, 2, shape, dtype)
        return jnp.asarray(self.std, dtype) * draw


class Uniform(Value):
    """Draw uniformly from low to high.

    Example:
        >>> draw = fnn.initializers.Uniform(-1.0, 1.0)
        >>> bool(abs(draw(jax.random.key(0), (1000,), "float32")).max() <= 1)
        True
    """

    low: float
    high: float

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of `shape`."""
        return jax.random.uniform(key, shape, dtype, self.low, self.high)


class Orthogonal(Value):
    """Draw uniformly among matrices with orthogonal rows or columns, times `gain`.

    A shape (..., in, out) is treated as the matrix (... · in, out). Its rows or columns,
    whichever are fewer, have length `gain` and are orthogonal to each other.

    Source: Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks".

    Raises:
        ValueError: When called with a shape of fewer than 2 axes.

    Example:
        >>> q = fnn.initializers.Orthogonal()(jax.random.key(0), (4, 2), "float32")
        >>> bool(jax.numpy.allclose(q.T @ q, jax.numpy.eye(2), atol=1e-6))
        True
    """

    gain: float = 1.0

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of `shape`."""
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape (..., in, out), got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = jnp.linalg.qr(jax.random.normal(key, tall, wide(dtype)))
        # This makes the factor unique, and so the distribution uniform (Mezzadri 2007).
        q = q * jnp.sign(jnp.diagonal(r))[None, :]
        q = q if rows >= columns else q.T
        return (jnp.asarray(self.gain, q.dtype) * q.reshape(shape)).astype(dtype)


class Constant(Value):
    """Fill with one number.

    Example:
        >>> fnn.initializers.Constant(0.1)(jax.random.key(0), (2,), "float32")
        Array([0.1, 0.1], dtype=float32)
    """

    value: float

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Make an array of `shape`; the key is only for the common signature."""
        return jnp.full(shape, self.value, dtype)


glorot_normal = VarianceScaling(1.0, "average", "normal")
glorot_uniform = VarianceScaling(1.0, "average", "uniform")
he_normal = VarianceScaling(2.0, "in", "normal")
he_uniform = VarianceScaling(2.0, "in", "uniform")
lecun_normal = VarianceScaling(1.0, "in", "normal")
lecun_uniform = VarianceScaling(1.0, "in", "uniform")
zeros = Constant(0.0)
ones = Constant(1.0)

_explain_missing(__name__)
