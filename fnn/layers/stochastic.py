"""Layers that behave at random in training."""

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layers.base import Layer
from fnn.types import Array, Key, Params, State


class Dropout(Layer):
    """Set elements to zero at random in training: y = x m / (1 - rate).

    Each element of the mask m is 0 with probability `rate`, else 1, so that the
    expected output is x. At inference y = x.

    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks
    from overfitting".

    Args:
        rate: The probability of dropping an element, from 0 to 1.

    Raises:
        ValueError: If the rate is not a probability, or if no key is given in training.

    Example:
        >>> layer = fnn.Dropout(0.5)
        >>> y, _ = layer.apply({}, {}, jax.numpy.ones(4), key=jax.random.key(1), train=True)
        >>> sorted(set(y.tolist()))
        [0.0, 2.0]
        >>> layer({}, jax.numpy.ones(4))
        Array([1., 1., 1., 1.], dtype=float32)
    """

    rate: float

    def __post_init__(self) -> None:
        checks.between("rate", self.rate, 0, 1)

    def apply(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[Array, State]:
        if not train:
            return x, state
        key = checks.typed_key(key, "Dropout in training")
        keep = 1 - self.rate
        mask = jax.random.bernoulli(key, keep, x.shape)
        scale = jnp.asarray(1 / jnp.maximum(keep, jnp.finfo(x.dtype).tiny), x.dtype)
        return jnp.where(mask, x * scale, jnp.zeros_like(x)), state
