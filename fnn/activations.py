"""Activation functions, elementwise unless the name says otherwise.

All are plain functions, so a model that holds one prints, compares and pickles. To fix a
parameter, use `functools.partial(fnn.activations.leaky_relu, negative_slope=0.1)`.
"""

import math

import jax
import jax.numpy as jnp

from fnn.lazy import explain_missing as _explain_missing
from fnn.types import Array, as_dtype, wide


def identity(x: Array) -> Array:
    """Return x. Range (-∞, ∞), derivative 1.

    Example:
        >>> identity(jax.numpy.float32(2.0))
        Array(2., dtype=float32)
    """
    return jnp.asarray(x)


def binary_step(x: Array) -> Array:
    """Return 1 where x ≥ 0, else 0: the perceptron's. Derivative 0.

    Example:
        >>> binary_step(jax.numpy.array([-2.0, 0.0, 2.0]))
        Array([0., 1., 1.], dtype=float32)
    """
    return jnp.heaviside(x, jnp.ones((), jnp.asarray(x).dtype))


def sign(x: Array) -> Array:
    """Return -1, 0 or 1, the sign of x. Derivative 0.

    Example:
        >>> sign(jax.numpy.array([-2.0, 0.0, 2.0]))
        Array([-1.,  0.,  1.], dtype=float32)
    """
    return jnp.sign(x)


def sigmoid(x: Array) -> Array:
    """Return σ(x) = 1 / (1 + exp(-x)). Range (0, 1), derivative σ (1 - σ) ≤ 1/4.

    Example:
        >>> sigmoid(jax.numpy.float32(0.0))
        Array(0.5, dtype=float32)
    """
    return jax.nn.sigmoid(x)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent, 2 σ(2x) - 1. Range (-1, 1), derivative 1 - tanh².

    Example:
        >>> tanh(jax.numpy.float32(0.0))
        Array(0., dtype=float32)
    """
    return jnp.tanh(x)


def relu(x: Array) -> Array:
    """Return max(0, x). Range [0, ∞), derivative 1 where x > 0, else 0.

    Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann
    machines".

    Example:
        >>> relu(jax.numpy.array([-2.0, 2.0]))
        Array([0., 2.], dtype=float32)
    """
    return jax.nn.relu(x)


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """Return x where x ≥ 0, else negative_slope · x. Range (-∞, ∞).

    Source: Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic
    models".

    Args:
        x: Any shape.
        negative_slope: The slope below 0.

    Example:
        >>> leaky_relu(jax.numpy.array([-2.0, 2.0]), 0.1)
        Array([-0.2,  2. ], dtype=float32)
    """
    return jax.nn.leaky_relu(x, negative_slope)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """Return x where x > 0, else α (exp(x) - 1). Range (-α, ∞).

    Source: Clevert et al. 2016, "Fast and accurate deep network learning by exponential
    linear units".

    Args:
        x: Any shape.
        alpha: α, above 0; -α is the limit for large negative x.

    Example:
        >>> elu(jax.numpy.array([-1e9, 2.0]), 0.5)
        Array([-0.5,  2. ], dtype=float32)
    """
    return jax.nn.elu(x, alpha)


def celu(x: Array, alpha: float = 1.0) -> Array:
    """Return x where x > 0, else α (exp(x / α) - 1). Range (-α, ∞).

    Source: Barron 2017, "Continuously differentiable exponential linear units".

    Args:
        x: Any shape.
        alpha: α, above 0; -α is the limit for large negative x.

    Example:
        >>> celu(jax.numpy.array([-1e9, 2.0]), 0.5)
        Array([-0.5,  2. ], dtype=float32)
    """
    return jax.nn.celu(x, alpha)


def selu(x: Array) -> Array:
    """Return λ x where x > 0, else λ α (exp(x) - 1), λ = 1.0507, α = 1.6733.

    Source: Klambauer et al. 2017, "Self-normalizing neural networks".

    Example:
        >>> print(f"{selu(jax.numpy.float32(1.0)):.4f}")
        1.0507
    """
    return jax.nn.selu(x)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)). Range (0, ∞), derivative σ(x).

    Example:
        >>> softplus(jax.numpy.float32(0.0))
        Array(0.6931472, dtype=float32)
    """
    return jax.nn.softplus(x)


def softsign(x: Array) -> Array:
    """Return x / (1 + |x|). Range (-1, 1), derivative 1 / (1 + |x|)².

    Example:
        >>> softsign(jax.numpy.float32(1.0))
        Array(0.5, dtype=float32)
    """
    return jax.nn.soft_sign(x)


def gelu(x: Array, approximate: bool = False) -> Array:
    """Return x Φ(x), with the distribution function Φ of the standard normal.

    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units".

    Args:
        x: Any shape.
        approximate: Whether to use x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) instead.

    Example:
        >>> gelu(jax.numpy.float32(1.0))
        Array(0.8413447, dtype=float32)
    """
    x = jnp.asarray(x)
    if not approximate:
        return jax.nn.gelu(x, approximate)
    # Beyond ±30 the result is x or -0 in any dtype, so clip x, whose cube might overflow.
    # The factor (1 + tanh u) / 2 is σ(2u), which does not cancel below 0.
    near = jnp.clip(x, -30, 30)
    share = jax.nn.sigmoid(math.sqrt(8 / math.pi) * (near + 0.044715 * near**3))
    return jnp.where(jnp.abs(x) < 30, near * share, jax.nn.relu(x))


def silu(x: Array) -> Array:
    """Return x σ(x), also called swish. Range [-0.2785, ∞).

    Source: Elfwing et al. 2018, "Sigmoid-weighted linear units".

    Example:
        >>> silu(jax.numpy.float32(1.0))
        Array(0.7310586, dtype=float32)
    """
    return jax.nn.silu(x)


def mish(x: Array) -> Array:
    """Return x tanh(softplus(x)). Range [-0.3088, ∞).

    Source: Misra 2020, "Mish: a self regularized non-monotonic activation function".

    Example:
        >>> mish(jax.numpy.float32(0.0))
        Array(0., dtype=float32)
    """
    return jax.nn.mish(x)


def relu6(x: Array) -> Array:
    """Return min(max(0, x), 6). Range [0, 6].

    Example:
        >>> relu6(jax.numpy.array([-2.0, 2.0, 8.0]))
        Array([0., 2., 6.], dtype=float32)
    """
    return jax.nn.relu6(x)


def hard_tanh(x: Array) -> Array:
    """Return min(max(-1, x), 1). Range [-1, 1].

    Example:
        >>> hard_tanh(jax.numpy.array([-2.0, 0.5, 2.0]))
        Array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return jax.nn.hard_tanh(x)


def hard_sigmoid(x: Array) -> Array:
    """Return min(max(0, x + 3), 6) / 6. Range [0, 1].

    Example:
        >>> hard_sigmoid(jax.numpy.array([-4.0, 0.0, 4.0]))
        Array([0. , 0.5, 1. ], dtype=float32)
    """
    return jax.nn.hard_sigmoid(x)


def hard_silu(x: Array) -> Array:
    """Return x · hard_sigmoid(x), also called hard swish. Range [-0.375, ∞).

    Source: Howard et al. 2019, "Searching for MobileNetV3".

    Example:
        >>> hard_silu(jax.numpy.array([-4.0, 0.0, 4.0]))
        Array([-0.,  0.,  4.], dtype=float32)
    """
    return jax.nn.hard_silu(x)


def log_sigmoid(x: Array) -> Array:
    """Return log σ(x) = -softplus(-x). Range (-∞, 0).

    Example:
        >>> log_sigmoid(jax.numpy.float32(0.0))
        Array(-0.6931472, dtype=float32)
    """
    return jax.nn.log_sigmoid(x)


def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(xᵢ) / Σⱼ exp(xⱼ) along one axis. Range (0, 1), with sum 1.

    Args:
        x: Logits, of any shape.
        axis: The axis of the classes.

    Example:
        >>> softmax(jax.numpy.zeros(4))
        Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    # The sum over many classes may overflow float16.
    return as_dtype(jax.nn.softmax(as_dtype(x, wide(x.dtype)), axis), x.dtype)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return xᵢ - log Σⱼ exp(xⱼ) along one axis. Range (-∞, 0).

    Args:
        x: Logits, of any shape.
        axis: The axis of the classes.

    Example:
        >>> log_softmax(jax.numpy.zeros(1))
        Array([0.], dtype=float32)
    """
    return as_dtype(jax.nn.log_softmax(as_dtype(x, wide(x.dtype)), axis), x.dtype)


_explain_missing(__name__)
