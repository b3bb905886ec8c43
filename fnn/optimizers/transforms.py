"""Transforms of gradients, to be chained before an optimizer."""

from typing import Any

import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import Optimizer
from fnn.types import Params, PyTree


class ClipByGlobalNorm(Optimizer):
    """Shorten the gradient to a length: g ← g · min(1, max_norm / ‖g‖).

    The norm is that of all leaves together, so the direction stays.

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural
    networks".

    Args:
        max_norm: The length that no gradient exceeds.

    Raises:
        ValueError: If `max_norm` is negative.

    Example:
        >>> clip = fnn.optimizers.ClipByGlobalNorm(1.0)
        >>> grads = {"a": jax.numpy.array([3.0]), "b": jax.numpy.array([4.0])}
        >>> clip.update(grads, clip.init(grads))[0]
        {'a': Array([0.6], dtype=float32), 'b': Array([0.8], dtype=float32)}
    """

    max_norm: float

    def __post_init__(self) -> None:
        checks.between("max_norm", self.max_norm, 0, float("inf"))

    def update(
        self, grads: PyTree, state: Any, params: Params | None = None
    ) -> tuple[PyTree, Any]:
        norm = tree.norm(grads)
        max_norm = jnp.asarray(self.max_norm, norm.dtype)
        # The denominator is at least max_norm, so it is 0 only where the factor is 0/0.
        factor = max_norm / jnp.maximum(
            norm, jnp.maximum(max_norm, jnp.finfo(norm.dtype).tiny)
        )
        return tree.scale(factor, grads), state
