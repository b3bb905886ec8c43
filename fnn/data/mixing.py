"""Augmentation that mixes the examples of a batch, as values called `(key, x, y)`.

Labels are distributions, as `one_hot` makes them, because they are mixed as well. One
proportion is drawn per batch, and every example is mixed with another one of its batch.
`fnn.fit` applies them to each batch if they are given as `augment`.
"""

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.data import images
from fnn.data.augmentation import Steps
from fnn.data.shuffling import permutation
from fnn.types import Array, Key, PyTree, wide
from fnn.values import Value


class BatchAugmentation(Value):
    """A random change of a batch, targets included: `(key, x, y) -> (x, y)`.

    `fnn.fit` and `fnn.supervised` give it the whole batch; any other augmentation gets
    one input. Examples of weight 0 are replaced by examples that count.

    Example:
        >>> class Reverse(fnn.data.BatchAugmentation):
        ...     def __call__(self, key, x, y):
        ...         return x[::-1], y[::-1]
        >>> objective = fnn.supervised(
        ...     fnn.Dense(2), fnn.losses.squared_error, augment=Reverse()
        ... )
    """

    def __call__(self, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
        """Return a batch of the same shapes, with leading axes over its examples."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


class BatchAugmentations(Steps, BatchAugmentation):
    """Apply augmentations one after the other to a batch, each with its own key.

    Args:
        *functions: Augmentations of one input, or functions `(key, x) -> x`, which are
            mapped over the batch; and augmentations of a batch.

    Raises:
        TypeError: If a step can't be called.

    Example:
        >>> augment = fnn.data.BatchAugmentations(
        ...     fnn.data.RandomFlip(), fnn.data.Mixup(0.2)
        ... )
        >>> x, y = jax.numpy.ones((4, 8, 8, 3)), fnn.data.one_hot([0, 1, 0, 1], 2)
        >>> x, y = augment(jax.random.key(0), x, y)
        >>> x.shape, y.shape
        ((4, 8, 8, 3), (4, 2))
    """

    __init__ = Steps.__init__  # instead of the one a dataclass would make

    def __call__(self, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
        """Return the batch after all steps."""
        key = checks.typed_key(key, "BatchAugmentations")
        keys = jax.random.split(key, len(self.steps))
        for i, step in enumerate(self.steps):
            if isinstance(step, BatchAugmentation):
                x, y = step(keys[i], x, y)
            else:
                x = jax.vmap(step)(jax.random.split(keys[i], len(x)), x)
        return x, y


class Mixup(BatchAugmentation):
    """Mix each example with another: x ← λ x + (1 - λ) x', y ← λ y + (1 - λ) y'.

    λ is drawn from Beta(alpha, alpha).

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization".

    Args:
        alpha: Above 0; the larger, the more even the mixture.

    Raises:
        ValueError: If `alpha` is not positive, or x and y differ in length.
        TypeError: If x or y is not floating-point.

    Example:
        >>> x, y = jax.numpy.ones((4, 3)), fnn.data.one_hot([0, 1, 0, 1], 2)
        >>> x, y = fnn.data.Mixup(0.2)(jax.random.key(0), x, y)
        >>> x.shape, y.sum(1)
        ((4, 3), Array([1., 1., 1., 1.], dtype=float32))
    """

    alpha: float

    def __post_init__(self) -> None:
        checks.above_zero("alpha", self.alpha)

    def __call__(self, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
        """Return a mixed batch.

        Args:
            key: A typed key.
            x: (batch, ...).
            y: (batch, classes), or (batch,) and (batch, ...) in regression.
        """
        x, y = _checked("Mixup", key, x, y)
        order_key, share_key = jax.random.split(key)
        other = permutation(order_key, len(x))
        share = _share(share_key, self.alpha, x)
        return _mixed(share, x, x[other]), _mixed(share, y, y[other])


class CutMix(BatchAugmentation):
    """Paste a box of another image: x ← x outside, x' inside; y ← λ y + (1 - λ) y'.

    The box is centred at a random pixel. Its sides are √(1 - λ) times the image's, with λ
    from Beta(alpha, alpha). Where part of it is outside the image, λ is the remaining share
    of x.

    Source: Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers
    with localizable features".

    Args:
        alpha: Above 0; the larger, the more even the mixture.

    Raises:
        ValueError: If `alpha` is not positive, x is not a batch of images, or x and y
            differ in length.
        TypeError: If x or y is not floating-point.

    Example:
        >>> x, y = jax.numpy.ones((2, 8, 8, 3)), fnn.data.one_hot([0, 1], 2)
        >>> x, y = fnn.data.CutMix(1.0)(jax.random.key(0), x, y)
        >>> x.shape, y.sum(1)
        ((2, 8, 8, 3), Array([1., 1.], dtype=float32))
    """

    alpha: float

    def __post_init__(self) -> None:
        checks.above_zero("alpha", self.alpha)

    def __call__(self, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
        """Return a mixed batch.

        Args:
            key: A typed key.
            x: (batch, height, width, ...).
            y: (batch, classes).
        """
        x, y = _checked("CutMix", key, x, y)
        images.check_image("CutMix", x[0])
        order_key, share_key, box_key = jax.random.split(key, 3)
        other = permutation(order_key, len(x))
        side = jnp.sqrt(1 - _share(share_key, self.alpha, x))
        height, width = ((n * side).astype(jnp.int32) for n in x.shape[1:3])
        box = images.random_box(box_key, x[0], height, width)
        share = 1 - jnp.mean(box, dtype=side.dtype)
        return jnp.where(box[None], x[other], x), _mixed(share, y, y[other])


def refilled(batch: PyTree, weights: Array) -> PyTree:
    """Replace the examples of weight 0 by examples that count.

    They are used in turn. So no mixture contains an example of weight 0.

    Args:
        batch: A pytree of arrays with a leading axis over the examples.
        weights: (batch,). If all are 0, the batch is unchanged.

    Example:
        >>> refilled(jax.numpy.array([7, 8, 9, 9, 9]), jax.numpy.array([1, 1, 0, 0, 0]))
        Array([7, 8, 7, 8, 7], dtype=int32)
    """
    empty = weights == 0
    full_ones = jnp.argsort(empty, stable=True)
    turn = (jnp.cumsum(empty) - 1) % jnp.maximum(jnp.sum(~empty), 1)
    rows = jnp.where(empty & ~empty.all(), full_ones[turn], jnp.arange(len(empty)))
    return jax.tree.map(lambda leaf: leaf[rows], batch)


def _checked(owner: str, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
    checks.typed_key(key, owner)
    checks.floating(f"x of {owner}", x)
    checks.floating(f"y of {owner}", y)
    checks.leading_length({"x": x, "y": y}, owner)
    return jnp.asarray(x), jnp.asarray(y)


def _share(key: Key, alpha: float, x: Array) -> Array:
    """Draw λ from Beta(alpha, alpha), ()."""
    return jax.random.beta(key, alpha, alpha, (), wide(x.dtype))


def _mixed(share: Array, a: Array, b: Array) -> Array:
    share = share.astype(a.dtype)
    return share * a + (1 - share) * b
