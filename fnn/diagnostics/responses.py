"""Activation functions, recognized by their values, not by their names."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.layers.base import Layer
from fnn.types import Array, Params, PyTree

# Points of evaluation: near zero, and far enough away that a function is flat or grows.
NEAR = np.linspace(-6.0, 6.0, 25)
FAR = np.array([-1e3, 1e3, -1e4, 1e4])


class Response(NamedTuple):
    """The steepest slope of an activation function, and whether it is bounded."""

    steepest: float
    bounded: bool


def response_of(layer: Layer, params: Params, x: PyTree, y: PyTree) -> Response | None:
    """Return the response of a layer, or `None` if it is not an activation function.

    An activation function has neither state nor randomness, maps each element
    alone, f(x)ᵢ = f(xᵢ), and is not linear. It maps each element alone if its Jacobian J is
    diagonal, so that s ∘ Jᵀs = Jᵀ1 for random signs s; this is tested at a random point. It
    is bounded if f(±10000) is not larger than f(±1000).

    Args:
        layer: Any layer.
        params: Its parameters.
        x: The spec of its input, of one example.
        y: The spec of its output.
    """
    pure = type(layer).apply is Layer.apply
    if not pure or not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    if checks.describe(x) != checks.describe(y):
        return None
    params = tree.cast(params, x.dtype)  # as `MixedPrecision` does
    draw = np.random.default_rng(0)
    point = jnp.asarray(draw.normal(size=x.shape), x.dtype)
    signs = jnp.asarray(draw.choice((-1.0, 1.0), x.shape), x.dtype)
    near, far = jnp.asarray(NEAR, x.dtype), jnp.asarray(FAR, x.dtype)
    results = _respond(layer, params, point, signs, near, far)
    mixing, slope, bend, height, limits, steepest = map(np.asarray, results)
    if mixing > 1e-3 * slope or bend <= 1e-3 * height:
        return None
    return Response(float(steepest), bool(limits[2:].max() <= 1.1 * limits[:2].max()))


def slope(function: Callable[[Array], Array], x: Array) -> Array:
    """Return the derivative of an elementwise function."""
    return _pull(function, x, jnp.ones_like(x))


def _pull(function: Callable[[Array], Array], x: Array, cotangent: Array) -> Array:
    # Reverse mode, because functions with custom rules often lack a forward-mode rule.
    (pulled,) = jax.vjp(function, x)[1](cotangent)
    return pulled


@functools.partial(jax.jit, static_argnums=0)
def _respond(
    layer: Layer, params: Params, point: Array, signs: Array, near: Array, far: Array
) -> tuple[Array, ...]:
    """Return how much elements mix, and the function's slope, bend, height and limits."""

    def function(x: Array) -> Array:
        return layer.forward(params, x)

    def everywhere(t: Array) -> Array:
        return jnp.full(point.shape, t)

    at_point = slope(function, point)
    mixing = signs * _pull(function, point, signs) - at_point
    values = jax.vmap(lambda t: function(everywhere(t)))(near)
    slopes = jax.vmap(lambda t: slope(function, everywhere(t)))(near)
    limits = jax.vmap(lambda t: _largest(function(everywhere(t))))(far)
    bend, height = _largest(jnp.diff(values, 2, axis=0)), _largest(values)
    return _largest(mixing), _largest(at_point), bend, height, limits, _largest(slopes)


def _largest(x: Array) -> Array:
    return jnp.max(jnp.abs(x.astype(jnp.float32)))


def steepness(layer: Layer, params: Params, response: Response, x: Array) -> Array:
    """Return |f'(x)| relative to the steepest slope of f, for a batch x, from 0 to 1."""
    params = tree.cast(params, x.dtype)
    slopes = slope(jax.vmap(lambda one: layer.forward(params, one)), x)
    return jnp.abs(slopes).astype(jnp.float32) / max(response.steepest, 1e-30)
