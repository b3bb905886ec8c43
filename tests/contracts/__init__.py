"""The contract tables: a row for each public layer, activation, loss, and so on.

A new one needs one row; `test_*_contract.py` then checks what all of its kind promise. The
oracles are written in NumPy, in float64, from the published formulas.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree


class LayerRow(NamedTuple):
    """A layer, the shape of an example, and what it computes (params, x) -> y."""

    make: Callable[[], Any]
    shape: tuple[int, ...]
    oracle: Callable[[Any, Any], Any]
    random: bool = False  # in training


class FunctionRow(NamedTuple):
    """An elementwise function, its oracle, its derivative, and where it has none.

    Both formulas hold in float64 for any numbers that float32 holds. For a function of
    whole vectors, the derivative is that of the sum.
    """

    function: Callable[..., Any]
    oracle: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    kinks: tuple[float, ...] = ()


class LossRow(NamedTuple):
    """A loss or metric, example outputs and targets, and its oracle on one example.

    A loss also has the gradient (output, target) -> NumPy array, NaN where there is no
    derivative, and targets at the ends of their range. Both formulas hold in float64 for
    any numbers that float32 holds.
    """

    function: Callable[..., Any]
    outputs: Any  # (examples, ...)
    targets: Any  # (examples, ...)
    oracle: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], Any] | None = None
    edges: Any = ()  # (targets, ...)
    smooth: bool = True


class OptimizerRow(NamedTuple):
    """An optimizer, and a generator that is sent gradients and yields updates."""

    make: Callable[[], Any]
    oracle: Callable[[], Any]
    over_rate: Callable[[Any], Any] | None = None


class ScheduleRow(NamedTuple):
    """A schedule, and the rate after a number of steps."""

    make: Callable[[], Any]
    oracle: Callable[[int], float]


class InitializerRow(NamedTuple):
    """An initializer, a shape, and the mean and variance of what it draws."""

    make: Callable[[], Any]
    shape: tuple[int, ...]
    mean: float
    variance: float


def over(table, argument="row", *, where=lambda row: True):
    """Run a test for every row of a table, under the row's name."""
    chosen = {name: row for name, row in table.items() if where(row)}
    return pytest.mark.parametrize(argument, chosen.values(), ids=list(chosen))


def key(seed=0):
    return jax.random.key(seed)


def notes(error):
    """Return what was added to an error that `pytest.raises` caught."""
    return "\n".join(getattr(error.value, "__notes__", []))


def example(shape, dtype="float32", seed=1):
    """Return normal random numbers."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def check_derivatives(function, x, h=1e-6):
    """Compare derivatives of both modes and orders, in float64, in one direction.

    The first are held against differences of the function, the second against differences
    of the first, and the modes against each other.
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, x))
    x, rng = np.concatenate([leaf.ravel() for leaf in leaves]), np.random.default_rng(1)
    v = rng.normal(size=x.shape)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1].tolist()

    def flat(x):
        parts = zip(jnp.split(x, ends), leaves, strict=True)
        tree = structure.unflatten([part.reshape(leaf.shape) for part, leaf in parts])
        return ravel_pytree(function(tree))[0]

    w = rng.normal(size=jax.eval_shape(flat, x).shape)

    @jax.jit
    def derivatives(x):
        gradient = jax.grad(lambda x: jnp.vdot(w, flat(x)))

        def forward(x):
            return jax.jvp(flat, (x,), (v,))

        (y, slope), (_, curvature) = jax.jvp(forward, (x,), (v,))
        along_gradient = jax.grad(lambda x: jnp.vdot(gradient(x), v))
        twice = jax.jvp(gradient, (x,), (v,))[1], along_gradient(x)
        return y, slope, curvature, gradient(x), twice

    def at(x):  # on the host, where arithmetic needs no compilation
        return jax.tree.map(np.asarray, derivatives(x))

    _, slope, curvature, gradient, (forward_reverse, reverse_reverse) = at(x)
    (above, _, _, steep, _), (below, _, _, flatter, _) = at(x + h * v), at(x - h * v)
    agree = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)
    agree(slope, (above - below) / (2 * h))
    agree(forward_reverse, (steep - flatter) / (2 * h))
    agree = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    agree(gradient @ v, w @ slope)
    agree(reverse_reverse, forward_reverse)
    agree(forward_reverse @ v, w @ curvature)


def close(found, exact):
    """Compare with float64, to some last digits; where that is NaN, ask for finite."""
    eps = float(jnp.finfo(found.dtype).eps)
    exact, found = exact.astype(found.dtype).astype(np.float64), numpy64(found)
    found = np.where(np.isnan(exact) & np.isfinite(found), np.nan, found)
    np.testing.assert_allclose(found, exact, rtol=8 * eps, atol=4 * eps)


def numpy64(tree):
    """Return a tree of NumPy arrays in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
