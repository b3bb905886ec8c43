"""Losses for regression: an output and a target of the same shape."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.losses import targets
from fnn.types import Array


def squared_error(output: Array, target: Array) -> Array:
    """Return Σₖ (yₖ - tₖ)².

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> squared_error(jax.numpy.array([1.0, 2.0]), jax.numpy.array([0.0, 0.0]))
        Array(5., dtype=float32)
    """
    y, t = targets.pair(output, target, "squared_error")
    return targets.narrow(jnp.sum(jnp.square(y - t)), output)


def half_squared_error(output: Array, target: Array) -> Array:
    """Return ½ Σₖ (yₖ - tₖ)², whose gradient is y - t.

    Its mean over N examples is the course's E = 1/(2N) Σ (y - t)².

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> half_squared_error(jax.numpy.array([1.0, 2.0]), jax.numpy.array([0.0, 0.0]))
        Array(2.5, dtype=float32)
    """
    y, t = targets.pair(output, target, "half_squared_error")
    d = y - t  # halve first: the square might overflow where its half does not
    return targets.narrow(jnp.sum(d * (d / 2)), output)


def mean_squared_error(output: Array, target: Array) -> Array:
    """Return 1/n Σₖ (yₖ - tₖ)², the mean over the n components of one example.

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> mean_squared_error(jax.numpy.array([1.0, 2.0]), jax.numpy.array([0.0, 0.0]))
        Array(2.5, dtype=float32)
    """
    y, t = targets.pair(output, target, "mean_squared_error")
    d = y - t  # divide first: the sum might overflow where the mean does not
    return targets.narrow(jnp.sum(d * (d / max(d.size, 1))), output)


def absolute_error(output: Array, target: Array) -> Array:
    """Return Σₖ |yₖ - tₖ|.

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> absolute_error(jax.numpy.array([1.0, -2.0]), jax.numpy.array([0.0, 0.0]))
        Array(3., dtype=float32)
    """
    y, t = targets.pair(output, target, "absolute_error")
    return targets.narrow(jnp.sum(jnp.abs(y - t)), output)


def mean_absolute_error(output: Array, target: Array) -> Array:
    """Return 1/n Σₖ |yₖ - tₖ|, the mean over the n components of one example.

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> mean_absolute_error(jax.numpy.array([1.0, -2.0]), jax.numpy.array([0.0, 0.0]))
        Array(1.5, dtype=float32)
    """
    y, t = targets.pair(output, target, "mean_absolute_error")
    return targets.narrow(jnp.sum(jnp.abs(y - t) / max(y.size, 1)), output)


def huber(output: Array, target: Array, delta: float | Array = 1.0) -> Array:
    """Return Σₖ h(yₖ - tₖ): h(d) = ½ d² where |d| ≤ δ, else δ (|d| - ½ δ).

    Source: Huber 1964, "Robust estimation of a location parameter".

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.
        delta: δ, above 0, where the square changes into the straight line.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ, or `delta` is not above 0.
        TypeError: If the output is not floating-point.

    Example:
        >>> huber(jax.numpy.array([0.5, 3.0]), jax.numpy.array([0.0, 0.0]))
        Array(2.625, dtype=float32)
    """
    checks.above_zero("delta", delta, finite=False)
    y, t = targets.pair(output, target, "huber")
    d, bound = y - t, jnp.asarray(delta, y.dtype)
    c = jnp.clip(d, -bound, bound)
    return targets.narrow(jnp.sum(c * (d - c / 2)), output)


def log_cosh(output: Array, target: Array) -> Array:
    """Return Σₖ log cosh(yₖ - tₖ), whose gradient is tanh(y - t).

    About ½ d² for small d and |d| - log 2 for large d.

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> print(f"{log_cosh(jax.numpy.array([1.0]), 0.0):.4f}")
        0.4338
    """
    y, t = targets.pair(output, target, "log_cosh")
    d = y - t
    # cosh d = 1 + 2 sinh²(d/2) does not cancel near 0, but overflows for large d.
    near = jnp.abs(d) < 1
    small, large = jnp.where(near, d, 0), jnp.abs(d)
    inner = jnp.log1p(2 * jnp.square(jnp.sinh(small / 2)))
    outer = large + jnp.log1p(jnp.exp(-2 * large)) - math.log(2)
    return targets.narrow(jnp.sum(jnp.where(near, inner, outer)), output)


def quantile(output: Array, target: Array, level: float | Array) -> Array:
    """Return Σₖ max(q dₖ, (q - 1) dₖ), d = t - y, which the q-quantile of t minimizes.

    Also called the pinball loss. At q = ½ it is half the absolute error.

    Source: Koenker & Bassett 1978, "Regression quantiles".

    Args:
        output: y, of any shape.
        target: t, of the shape of y. If both have one element, (1,) and () agree.
        level: q, from 0 to 1.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ, or `level` is out of range.
        TypeError: If the output is not floating-point.

    Example:
        >>> quantile(jax.numpy.array([1.0]), 3.0, level=0.75)
        Array(1.5, dtype=float32)
    """
    checks.between("level", level, 0, 1)
    y, t = targets.pair(output, target, "quantile")
    q, d = jnp.asarray(level, y.dtype), t - y
    return targets.narrow(jnp.sum(jnp.maximum(q * d, (q - 1) * d)), output)


def gaussian_nll(output: tuple[Array, Array] | Array, target: Array) -> Array:
    """Return ½ Σₖ (sₖ + (tₖ - μₖ)² exp(-sₖ) + log 2π), -log N(t; μ, σ²) with s = log σ².

    Source: Nix & Weigend 1994, "Estimating the mean and variance of the target
    probability distribution".

    Args:
        output: The pair of the mean μ and the log-variance s, each of any shape; or an
            array with μ and s along its first axis, (2, ...).
        target: t, of the shape of μ. If both have one element, (1,) and () agree.

    Returns:
        The loss, (). It grows as exp(-s), and may be infinite.

    Raises:
        ValueError: If the output is not a pair, or the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> print(f"{gaussian_nll(jax.numpy.array([3.0, 0.0]), 3.0):.4f}")  # log(2π) / 2
        0.9189
    """
    sequence = isinstance(output, tuple | list) or np.ndim(output) > 0
    if not sequence or len(output) != 2:
        raise ValueError(
            f"gaussian_nll takes the pair of mean and log-variance as output, a tuple or "
            f"an array (2, ...); got {checks.describe(output)}"
        )
    mean, t = targets.pair(output[0], target, "gaussian_nll")
    s, _ = targets.pair(output[1], target, "gaussian_nll")
    terms = s / 2 + _excess(t - mean, s) + math.log(2 * math.pi) / 2
    return targets.narrow(jnp.sum(terms), output[0])


def poisson_nll(output: Array, target: Array) -> Array:
    """Return Σₖ (exp(zₖ) - tₖ zₖ + log tₖ!), -log of the Poisson probability of t.

    The rate is exp(z); the gradient is exp(z) - t.

    Args:
        output: z, the log-rates, of any shape.
        target: t, the counts, of the shape of z, not negative. If both have one
            element, (1,) and () agree.

    Returns:
        The loss, (). It grows as exp(z), and may be infinite.

    Raises:
        ValueError: If the shapes differ, or a count is known to be negative.
        TypeError: If the output is not floating-point.

    Example:
        >>> poisson_nll(jax.numpy.array([0.0]), 1)
        Array(1., dtype=float32)
    """
    checks.values_between(target, 0, float("inf"), "targets of poisson_nll")
    z, t = targets.pair(output, target, "poisson_nll")
    return targets.narrow(jnp.sum(_poisson(z, t)), output)


def cosine_distance(output: Array, target: Array) -> Array:
    """Return 1 - ⟨y, t⟩ / (‖y‖ ‖t‖), from 0 for equal to 2 for opposite directions.

    Args:
        output: y, of any shape.
        target: t, of the shape of y.

    Returns:
        The loss, (). It is 1 if y or t is 0.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the output is not floating-point.

    Example:
        >>> cosine_distance(jax.numpy.array([1.0, 0.0]), jax.numpy.array([0.0, 2.0]))
        Array(1., dtype=float32)
    """
    y, t = targets.pair(output, target, "cosine_distance")
    return targets.narrow(1 - jnp.sum(_unit(y) * _unit(t)), output)


@jax.custom_jvp
def _excess(d: Array, s: Array) -> Array:
    """Return ½ d² exp(-s), which is 0 for d = 0 even where exp(-s) is infinite."""
    u, _ = _in_deviations(d, s)
    return u * (u / 2)


def _excess_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> Any:
    (d, s), (dd, ds) = primals, tangents
    value, slope = _excess(d, s), jnp.zeros_like(d)
    if not isinstance(dd, jax.custom_derivatives.SymbolicZero):
        u, root = _in_deviations(d, s)
        slope += u * root * root * dd
    if not isinstance(ds, jax.custom_derivatives.SymbolicZero):
        slope -= value * ds
    return value, slope


_excess.defjvp(_excess_jvp, symbolic_zeros=True)


def _in_deviations(d: Array, s: Array) -> tuple[Array, Array]:
    """Return d exp(-s/2) and exp(-s/4).

    The factor exp(-s/2) may overflow where the product does not. Beyond the bound of its
    root, the square of the product is infinite unless d is 0.
    """
    root = jnp.exp(jnp.minimum(-s / 4, 0.95 * math.log(jnp.finfo(s.dtype).max)))
    return d * root * root, root


@jax.custom_jvp
def _poisson(z: Array, t: Array) -> Array:
    """Return exp(z) - t z + log t!, whose terms cancel for large t to a millionth of them.

    For large t it is computed as t (d - log(1 + d)) + (log t! - t log t + t), with d =
    exp(z) / t - 1.
    """
    few = t < 16
    small, large = jnp.where(few, t, 1), jnp.where(few, 16, t)
    product = jnp.where(small == 0, 0, small * z)  # also for z = -∞, the rate 0
    direct = jnp.exp(z) - product + jax.scipy.special.gammaln(small + 1)
    d = (jnp.exp(z) - large) / large
    far = d - (z - jnp.log(large))
    excess = large * jnp.where(jnp.abs(d) < 0.5, _less_log1p(d), far)
    # Stirling's series of log t!, whose next term is below 1e-14.
    r = 1 / large
    series = r * (1 / 12 - r * r * (1 / 360 - r * r * (1 / 1260 - r * r / 1680)))
    return jnp.where(few, direct, excess + jnp.log(2 * math.pi * large) / 2 + series)


def _poisson_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> Any:
    (z, t), (dz, dt) = primals, tangents
    slope = jnp.zeros_like(z)
    if not isinstance(dz, jax.custom_derivatives.SymbolicZero):
        slope += (jnp.exp(z) - t) * dz
    if not isinstance(dt, jax.custom_derivatives.SymbolicZero):  # counts are rarely learned
        slope += (jax.scipy.special.digamma(t + 1) - z) * dt
    return _poisson(z, t), slope


_poisson.defjvp(_poisson_jvp, symbolic_zeros=True)


def _less_log1p(d: Array) -> Array:
    """Return d - log(1 + d) for |d| < ½, without cancellation.

    With r = d / (2 + d), log(1 + d) = 2 (r + r³/3 + r⁵/5 + ...) and d - 2r = r d.
    """
    r = d / (2 + d)
    square, tail = r * r, jnp.zeros_like(r)
    for k in range(33, 1, -2):  # r² < 1/9, and (1/9)¹⁷ is below float64's precision
        tail = square * (1 / k + tail)
    return r * (d - 2 * tail)


def _unit(x: Array) -> Array:
    """Return x / ‖x‖, or 0 for 0; the squares neither overflow nor vanish."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x)))
    x = x / jnp.where(largest > 0, largest, 1)
    square = jnp.sum(jnp.square(x))
    return x / jnp.sqrt(jnp.where(square > 0, square, 1))
