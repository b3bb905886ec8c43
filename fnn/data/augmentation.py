"""Augmentation: values that change one example at random, called `(key, x)`.

`fit` applies them to every training example, each with its own key. Images are (height,
width, ...): all channels of a pixel are treated alike.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.data import images
from fnn.data.images import Size
from fnn.types import Array, Key, wide
from fnn.values import Value, show

Augmentation: TypeAlias = Callable[[Key, Array], Array]
"""From a key and one example to one example."""


class RandomFlip(Value):
    """Reverse an axis with some probability.

    Args:
        axis: 1 swaps left and right of an image, 0 swaps top and bottom.
        probability: From 0 to 1.

    Raises:
        ValueError: If an argument is out of range, or x has no such axis.

    Example:
        >>> flip = fnn.data.RandomFlip(probability=1.0)
        >>> flip(jax.random.key(0), jax.numpy.array([[1, 2, 3]]))
        Array([[3, 2, 1]], dtype=int32)
    """

    axis: int = 1
    probability: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.axis, bool) or not isinstance(self.axis, int):
            raise ValueError(f"axis must be an integer, got {self.axis!r}")
        checks.between("probability", self.probability, 0, 1)

    def __call__(self, key: Key, x: Array) -> Array:
        """Return x, or x reversed."""
        key = checks.typed_key(key, "RandomFlip")
        if not -x.ndim <= self.axis < x.ndim:
            raise ValueError(f"RandomFlip needs axis {self.axis}, got {checks.describe(x)}")
        flip = jax.random.bernoulli(key, self.probability)
        return jnp.where(flip, jnp.flip(x, self.axis), x)


class RandomCrop(Value):
    """Surround an image with zeros, then cut out a window at random.

    `RandomCrop(32, padding=4)` is the usual one for CIFAR-10.

    Source: He et al. 2016, "Deep residual learning for image recognition".

    Args:
        size: The window's size: an integer, or (height, width).
        padding: Number of zeros to add at each border: an integer, or (at top and bottom,
            at left and right).

    Raises:
        ValueError: If an argument is out of range, or x is too small or not an image.

    Example:
        >>> crop = fnn.data.RandomCrop((2, 3))
        >>> crop(jax.random.key(0), jax.numpy.ones((8, 8, 1))).shape
        (2, 3, 1)
    """

    size: Size
    padding: Size = (0, 0)

    def __post_init__(self) -> None:
        self._set(size=images.pair("size", self.size, 1))
        self._set(padding=images.pair("padding", self.padding, 0))

    def __call__(self, key: Key, x: Array) -> Array:
        """Return a window of the image."""
        key = checks.typed_key(key, "RandomCrop")
        images.check_image("RandomCrop", x)
        padded = images.padded(x, self.padding)
        if padded.shape[0] < self.size[0] or padded.shape[1] < self.size[1]:
            raise ValueError(
                f"RandomCrop of size {self.size} and padding {self.padding} needs a "
                f"larger image than {checks.describe(x)}"
            )
        return images.random_window(key, padded, self.size)


class RandomShift(Value):
    """Move an image up or down and left or right; zeros fill the gap.

    All shifts by whole pixels are equally likely.

    Args:
        pixels: The largest shift: an integer, or (vertically, horizontally).

    Raises:
        ValueError: If `pixels` is negative, or x is not an image.

    Example:
        >>> shift = fnn.data.RandomShift((0, 1))
        >>> shift(jax.random.key(2), jax.numpy.array([[1, 2, 3]]))
        Array([[2, 3, 0]], dtype=int32)
    """

    pixels: Size

    def __post_init__(self) -> None:
        self._set(pixels=images.pair("pixels", self.pixels, 0))

    def __call__(self, key: Key, x: Array) -> Array:
        """Return the image, moved."""
        key = checks.typed_key(key, "RandomShift")
        images.check_image("RandomShift", x)
        return images.random_window(key, images.padded(x, self.pixels), x.shape[:2])


class RandomRotation(Value):
    """Turn an image about its centre by an angle between -degrees and degrees.

    Values between pixels are interpolated bilinearly; outside the image they are zero.
    A positive angle turns counter-clockwise.

    Args:
        degrees: The largest angle, from 0 to 180; all angles are equally likely.

    Raises:
        ValueError: If `degrees` is out of range, or x is not an image.
        TypeError: If x is not floating-point.

    Example:
        >>> rotate = fnn.data.RandomRotation(15.0)
        >>> rotate(jax.random.key(0), jax.numpy.ones((28, 28, 1))).shape
        (28, 28, 1)
    """

    degrees: float

    def __post_init__(self) -> None:
        checks.between("degrees", self.degrees, 0, 180)

    def __call__(self, key: Key, x: Array) -> Array:
        """Return the image, turned."""
        key = checks.typed_key(key, "RandomRotation")
        images.check_image("RandomRotation", x)
        checks.floating("RandomRotation", x)
        bound = math.radians(self.degrees)
        return images.rotated(x, jax.random.uniform(key, (), wide(x.dtype), -bound, bound))


class Cutout(Value):
    """Set a rectangle of an image to zero.

    Its centre may be any pixel, so part of the rectangle may be outside the image.

    Source: DeVries & Taylor 2017, "Improved regularization of convolutional neural
    networks with cutout".

    Args:
        size: The rectangle's size: an integer, or (height, width).

    Raises:
        ValueError: If `size` is not positive, or x is not an image.

    Example:
        >>> cutout = fnn.data.Cutout(1)
        >>> cutout(jax.random.key(0), jax.numpy.ones((4, 4))).sum()
        Array(15., dtype=float32)
    """

    size: Size

    def __post_init__(self) -> None:
        self._set(size=images.pair("size", self.size, 1))

    def __call__(self, key: Key, x: Array) -> Array:
        """Return the image with a hole."""
        key = checks.typed_key(key, "Cutout")
        images.check_image("Cutout", x)
        return jnp.where(images.random_box(key, x, *self.size), jnp.zeros_like(x), x)


class AddNoise(Value):
    """Add normal noise: x + std ε, with ε from N(0, 1) for every element.

    Args:
        std: The standard deviation.

    Raises:
        ValueError: If `std` is negative.
        TypeError: If x is not floating-point.

    Example:
        >>> noise = fnn.data.AddNoise(0.1)
        >>> noise(jax.random.key(0), jax.numpy.zeros(3)).shape
        (3,)
    """

    std: float

    def __post_init__(self) -> None:
        checks.between("std", self.std, 0, math.inf)

    def __call__(self, key: Key, x: Array) -> Array:
        """Return x + std ε."""
        key = checks.typed_key(key, "AddNoise")
        checks.floating("AddNoise", x)
        return x + jnp.asarray(self.std, x.dtype) * jax.random.normal(key, x.shape, x.dtype)


class Steps(Value):
    """Augmentations to apply one after the other."""

    steps: tuple[Callable[..., Any], ...]

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._set(steps=functions)
        self.__post_init__()

    def __post_init__(self) -> None:
        for step in self.steps:
            if isinstance(step, type) or not callable(step):
                raise TypeError(
                    f"{type(self).__name__} takes functions (key, x) -> x, got {show(step)}"
                )

    def _arguments(self) -> Iterator[str]:
        return map(show, self.steps)


class Augmentations(Steps):
    """Apply augmentations one after the other, each with its own key.

    Args:
        *functions: Augmentations, or any functions `(key, x) -> x`.

    Raises:
        TypeError: If a step can't be called.

    Example:
        >>> augment = fnn.data.Augmentations(
        ...     fnn.data.RandomCrop(32, padding=4), fnn.data.RandomFlip()
        ... )
        >>> augment(jax.random.key(0), jax.numpy.ones((32, 32, 3))).shape
        (32, 32, 3)
    """

    __init__ = Steps.__init__  # instead of the one a dataclass would make

    def __call__(self, key: Key, x: Array) -> Array:
        """Return x after all steps."""
        key = checks.typed_key(key, "Augmentations")
        keys = jax.random.split(key, len(self.steps))
        for i, step in enumerate(self.steps):
            x = step(keys[i], x)
        return x
