"""Activation functions with parameters."""

import math

import jax.numpy as jnp

from fnn import checks
from fnn.layers.base import Layer
from fnn.types import Array, Key, Params, State


class PReLU(Layer):
    """Return x where x ≥ 0, else slope · x, the slope being a parameter.

    With a fixed slope this is `fnn.activations.leaky_relu`.

    Source: He et al. 2015, "Delving deep into rectifiers".

    Args:
        initial: The slope that training starts from.
        per_feature: Whether each feature, the last axis of x, has its own slope,
            (features,). Otherwise all elements share one, ().

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If the features are not those that the layer was initialized for.

    Example:
        >>> layer = fnn.PReLU()
        >>> x = jax.numpy.array([-2.0, 2.0])
        >>> params, _ = layer.init(jax.random.key(0), x)
        >>> params
        {'slope': Array([0.25, 0.25], dtype=float32)}
        >>> layer(params, x)
        Array([-0.5,  2. ], dtype=float32)
    """

    kind = "prelu"

    initial: float = 0.25
    per_feature: bool = True

    def __post_init__(self) -> None:
        checks.options(self)
        checks.between("initial", self.initial, -math.inf, math.inf)

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        dtype = checks.floating("PReLU", x)
        if self.per_feature and not x.shape:
            raise ValueError("PReLU takes x of shape (..., features), got a scalar")
        shape = x.shape[-1:] if self.per_feature else ()
        return {"slope": jnp.full(shape, self.initial, dtype)}, {}

    def forward(self, params: Params, x: Array) -> Array:
        checks.floating("PReLU", x)
        slope = params["slope"]
        if self.per_feature and slope.shape != x.shape[-1:]:
            raise ValueError(
                f"PReLU was initialized for other features: its slope is "
                f"{checks.describe(slope)}, got x {checks.describe(x)}"
            )
        return jnp.where(x >= 0, x, jnp.broadcast_to(slope, x.shape) * x)
