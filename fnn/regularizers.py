"""Penalties on parameters, as values that are called `(params) -> penalty`.

Training minimizes the mean loss plus the penalty: `fnn.fit(..., regularizer=L2(1e-4))`.
Penalties act on leaves whose path matches a pattern (see `fnn.tree`), by default on
kernels, so not on biases or the scales of normalizations.
"""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.lazy import explain_missing as _explain_missing
from fnn.tree import Pattern
from fnn.types import Array, Params, wide
from fnn.values import Value

KERNELS = "*kernel"


class _OfOneStrength(Value):
    """The arguments of `L1` and `L2`."""

    strength: float | Array
    on: Pattern = KERNELS

    def __post_init__(self) -> None:
        checks.between("strength", self.strength, 0, float("inf"))
        self._set(on=_normalized(self.on))


class L1(_OfOneStrength):
    """Penalize the sum of absolute weights: Ω = λ Σ |w|.

    It drives weights to 0. Gradient descent only makes them small, because its steps jump
    over 0; `soft_threshold` after each step makes them exactly 0.

    Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso".

    Args:
        strength: λ, not negative.
        on: The leaves to penalize: a glob on their paths, or several.

    Raises:
        ValueError: If `strength` is negative, or, when called, if no leaf matches.

    Example:
        >>> params = {"kernel": jax.numpy.array([[3.0], [-4.0]]), "bias": jax.numpy.ones(1)}
        >>> fnn.regularizers.L1(0.1)(params)
        Array(0.7, dtype=float32)
    """

    def __call__(self, params: Params) -> Array:
        """Return the penalty, ()."""
        return _penalty(params, self.on, (self.strength, jnp.abs))


class L2(_OfOneStrength):
    """Penalize the sum of squared weights: Ω = λ Σ w², for matrices λ ‖W‖² (Frobenius).

    If the penalty is written λ'/(2m) Σ w² for m training examples, λ = λ' / (2m); for
    λ'/2 Σ w², λ = λ'/2. The gradient is 2 λ w, so a step of gradient descent with rate α
    first multiplies the weights by 1 - 2 α λ: weight decay. With Adam, L2 and weight decay
    differ.

    Source: Hoerl & Kennard 1970, "Ridge regression: biased estimation for nonorthogonal
    problems"; Krogh & Hertz 1992, "A simple weight decay can improve generalization".

    Args:
        strength: λ, not negative.
        on: The leaves to penalize: a glob on their paths, or several.

    Raises:
        ValueError: If `strength` is negative, or, when called, if no leaf matches.

    Example:
        >>> params = {"kernel": jax.numpy.array([[3.0], [-4.0]]), "bias": jax.numpy.ones(1)}
        >>> fnn.regularizers.L2(0.1)(params)
        Array(2.5, dtype=float32)
    """

    def __call__(self, params: Params) -> Array:
        """Return the penalty, ()."""
        return _penalty(params, self.on, (self.strength, jnp.square))


class ElasticNet(Value):
    """Penalize absolute and squared weights: Ω = λ₁ Σ |w| + λ₂ Σ w².

    Source: Zou & Hastie 2005, "Regularization and variable selection via the elastic
    net".

    Args:
        l1: λ₁, not negative.
        l2: λ₂, not negative.
        on: The leaves to penalize: a glob on their paths, or several.

    Raises:
        ValueError: If `l1` or `l2` is negative, or, when called, if no leaf matches.

    Example:
        >>> params = {"kernel": jax.numpy.array([[3.0], [-4.0]]), "bias": jax.numpy.ones(1)}
        >>> fnn.regularizers.ElasticNet(0.1, 0.2)(params)
        Array(5.7, dtype=float32)
    """

    l1: float | Array
    l2: float | Array
    on: Pattern = KERNELS

    def __post_init__(self) -> None:
        checks.between("l1", self.l1, 0, float("inf"))
        checks.between("l2", self.l2, 0, float("inf"))
        self._set(on=_normalized(self.on))

    def __call__(self, params: Params) -> Array:
        """Return the penalty, ()."""
        return _penalty(params, self.on, (self.l1, jnp.abs), (self.l2, jnp.square))


def soft_threshold(params: Params, amount: float | Array, on: Pattern = KERNELS) -> Params:
    """Return sign(w) max(|w| - amount, 0): move weights towards 0, but not beyond.

    It is the proximal step of `L1`: instead of adding `L1(strength)` to the loss, apply it
    after each step of gradient descent with `amount` = rate · strength. Small weights then
    become, and stay, exactly 0.

    Source: Daubechies et al. 2004, "An iterative thresholding algorithm for linear
    inverse problems with a sparsity constraint".

    Args:
        params: Parameters.
        amount: The shift towards 0, not negative.
        on: The leaves to penalize: a glob on their paths, or several. The others are
            unchanged.

    Returns:
        Parameters of the same dtypes.

    Raises:
        ValueError: If `amount` is negative, or if no leaf matches.

    Example:
        >>> params = {"kernel": jax.numpy.array([1.0, -0.1, -2.0])}
        >>> fnn.regularizers.soft_threshold(params, 0.5)
        {'kernel': Array([ 0.5,  0. , -1.5], dtype=float32)}
    """
    checks.between("amount", amount, 0, float("inf"))

    def shrink(matches: bool, w: Array) -> Array:
        a = jnp.asarray(amount, w.dtype)
        return w - jnp.clip(w, -a, a) if matches else w

    return jax.tree.map(shrink, tree.match(params, _normalized(on)), params)


def _penalty(
    params: Params, on: Pattern, *terms: tuple[float | Array, Callable[[Array], Array]]
) -> Array:
    """Return Σ strength · Σ f(w) over the terms and the leaves that match.

    It is summed in float32 at least, and has the widest of the leaves' dtypes, so it can be
    added to a loss.
    """
    chosen = jax.tree.leaves(tree.partition(params, on)[0])
    dtype = max((leaf.dtype for leaf in chosen), key=lambda dtype: dtype.itemsize)
    precise = wide(dtype)
    sums = [
        jnp.asarray(strength, precise) * jnp.sum(f(leaf.astype(precise)))
        for strength, f in terms
        for leaf in chosen
    ]
    return functools.reduce(operator.add, sums).astype(dtype)


def _normalized(on: Pattern) -> Pattern:
    globs = (on,) if isinstance(on, str) else tuple(on)
    if not globs or not all(isinstance(glob, str) for glob in globs):
        raise ValueError(f"on must be a glob on paths, or a tuple of them, got {on!r}")
    return on if isinstance(on, str) else globs


_explain_missing(__name__)
