"""Training in float16: a scale that keeps gradients from underflow and overflow."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import (
    DynamicLossScaleState,
    Wrapping,
    check_optimizer,
    updated,
)
from fnn.optimizers.selection import extra_of_part, with_zeros, without_frozen
from fnn.types import Array, Params, PyTree, wide

# Neither the scale nor its inverse may leave the range of float32, 2⁻¹²⁶ to 2¹²⁸.
SMALLEST, LARGEST = 1.0, 2.0**120


class DynamicLossScale(Wrapping):
    """Take the gradients of s · loss, and divide them by s: w ← w + u(∇(s · loss) / s).

    float16 holds no numbers between 0 and 6e-8, and none above 65504. The scale s brings
    the gradients in between. A step whose gradients are not finite is skipped: parameters
    and the optimizer's state stay as they are, and s is divided by `factor`. After
    `period` steps in a row without that, it is multiplied by `factor`. It is never below 1.

    `fnn.make_step`, and so `fnn.fit`, multiplies the objective by s. A loop of your own
    does so by `fnn.optimizers.current_loss_scale`. bfloat16 has the range of float32, and
    needs no scale. The parameters themselves should be in float32, as `fnn.MixedPrecision`
    holds them.

    Source: Micikevicius et al. 2018, "Mixed precision training".

    Args:
        optimizer: fnn's or Optax's, which gets the divided gradients.
        initial: The first scale, at least 1.
        period: Number of steps without overflow after which the scale grows.
        factor: The factor of its growth and its fall, above 1; with powers of 2 there are
            no rounding errors.

    Raises:
        TypeError: If `optimizer` is not an optimizer.
        ValueError: If a number is out of range.

    Example:
        >>> optimizer = fnn.optimizers.DynamicLossScale(fnn.optimizers.SGD(1.0))
        >>> params = {"w": jax.numpy.array([1.0])}
        >>> state = optimizer.init(params)
        >>> def loss(params):
        ...     return (1e-9 * params["w"].astype("float16").astype("float32")).sum()
        >>> jax.grad(loss)(params)  # too small for float16
        {'w': Array([0.], dtype=float32)}
        >>> scale = fnn.optimizers.current_loss_scale(state)
        >>> grads = jax.grad(lambda params: scale * loss(params))(params)
        >>> updates, state = optimizer.update(grads, state)
        >>> print(f"{updates['w'][0]:.2e}")
        -1.00e-09
        >>> overflow = {"w": jax.numpy.array([jax.numpy.inf])}
        >>> updates, state = optimizer.update(overflow, state)
        >>> print(updates["w"], state.loss_scale, state.skipped)
        [0.] 16384.0 1
    """

    initial: float = 2.0**15
    period: int = 2000
    factor: float | Array = 2.0

    def __post_init__(self) -> None:
        check_optimizer(self.optimizer, "DynamicLossScale")
        checks.between("initial", self.initial, SMALLEST, LARGEST)
        checks.between("factor", self.factor, 1, LARGEST)
        if not isinstance(self.factor, jax.Array) and self.factor == 1:
            raise ValueError(f"factor must be above 1, got {self.factor!r}")
        self._set(period=checks.positive_integer("period", self.period))

    def init(self, params: Params) -> DynamicLossScaleState:
        scale = jnp.asarray(self.initial, jnp.float32)
        unchanged, skipped = (jnp.zeros((), jnp.int32) for _ in range(2))
        own = self.optimizer.init(without_frozen(self, params))
        return DynamicLossScaleState(scale, unchanged, skipped, own)

    def update(
        self,
        grads: PyTree,
        state: DynamicLossScaleState,
        params: Params | None = None,
        **extra: Any,
    ) -> tuple[PyTree, DynamicLossScaleState]:
        moving = without_frozen(self, grads)
        extra = extra_of_part(extra, functools.partial(without_frozen, self), params)
        params = None if params is None else without_frozen(self, params)
        finite = tree.all_finite(moving)
        divided = _divide(moving, state.loss_scale)
        if "grad" in extra:
            extra["grad"] = _divide(extra["grad"], state.loss_scale)
        updates, own = updated(self.optimizer, divided, state.optimizer, params, extra)
        updates = tree.where(finite, updates, tree.zeros_like(updates))
        new = DynamicLossScaleState(
            *self._adapt(state, finite),
            state.skipped + jnp.where(finite, 0, 1),
            tree.where(finite, own, state.optimizer),
        )
        return with_zeros(updates, grads), new

    def loss_scale(self, state: DynamicLossScaleState) -> Array:
        super().loss_scale(state)  # raises if there is another scale inside
        return state.loss_scale

    def skipped(self, state: DynamicLossScaleState) -> Array:
        return state.skipped

    def _adapt(self, state: DynamicLossScaleState, finite: Array) -> tuple[Array, Array]:
        """Return the scale of the next step, and the steps since it was last changed."""
        unchanged = jnp.where(finite, state.unchanged + 1, 0)
        due = unchanged == self.period
        growth = jnp.where(due, self.factor, 1.0)
        scale = state.loss_scale * jnp.where(finite, growth, 1 / self.factor)
        return jnp.clip(scale, SMALLEST, LARGEST), jnp.where(due, 0, unchanged)


def _divide(grads: PyTree, scale: Array) -> PyTree:
    """Return grads / scale in the dtypes of the gradients, by way of wide ones."""

    def divide(g: Array) -> Array:
        dtype = wide(g.dtype)
        return (g.astype(dtype) / scale.astype(dtype)).astype(g.dtype)

    return jax.tree.map(divide, grads)
