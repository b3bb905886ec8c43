"""Preprocessing as values: what is measured is measured on training data only.

Each is called on a stack of examples or on a single one, NumPy or JAX, and keeps the
dtype, so it can stand in a `Sequential` as it is.
"""

from typing import Any, TypeVar

import jax
import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike

from fnn import checks
from fnn.types import Array, NDArray, wide
from fnn.values import Value

Numbers = TypeVar("Numbers", NDArray, Array)


class Standardize(Value):
    """Shift and scale to mean 0 and standard deviation 1: z = (x - mean) / std.

    With `axis=(0, 1, 2)` this is the per-channel normalization of images.

    Source: He et al. 2016, "Deep residual learning for image recognition", for images.

    Args:
        mean: Broadcast against x.
        std: Broadcast against x; where it is 0, as for a pixel that never changes, x is
            only shifted.

    Raises:
        ValueError: If `std` is negative, or when called on x of another shape than what
            it was fitted on.
        TypeError: When called on numbers that are not floating-point.

    Example:
        >>> x = jax.numpy.array([[1.0, 5.0], [3.0, 5.0]])
        >>> standardize = fnn.data.Standardize.fit(x)
        >>> standardize
        fnn.data.Standardize(
            jax.numpy.array([[2.0, 5.0]], dtype='float32'),
            jax.numpy.array([[1.0, 0.0]], dtype='float32'),
        )
        >>> standardize(x)
        Array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
    """

    mean: Any
    std: Any

    def __post_init__(self) -> None:
        self._set(mean=_as_numpy(self.mean), std=_as_numpy(self.std))
        if not (self.std >= 0).all():
            raise ValueError(f"std must not be negative, got {self.std}")

    @classmethod
    def fit(cls, x: ArrayLike, axis: int | tuple[int, ...] = 0) -> "Standardize":
        """Measure mean and standard deviation (biased) over some axes.

        Args:
            x: Training data, (examples, ...), floating-point.
            axis: The axes to average over: 0 for one mean per feature or pixel,
                (0, 1, 2) for one per channel of images, `tuple(range(x.ndim))` for one.

        Raises:
            ValueError: If x is empty or not finite, or `axis` lacks 0.
            TypeError: If x is not floating-point.
        """
        x, axis = _training_data(x, axis)
        mean = x.mean(axis, np.float64, keepdims=True)
        std = x.std(axis, np.float64, keepdims=True)
        # Rounding must not make a constant in float64 seem to vary.
        varies = x.max(axis, keepdims=True) > x.min(axis, keepdims=True)
        return cls(mean.astype(x.dtype), np.where(varies, std, 0).astype(x.dtype))

    def __call__(self, x: Numbers) -> Numbers:
        """Return (x - mean) / std."""
        return (x - _aligned(self, self.mean, x)) / _aligned(self, _divisor(self.std), x)

    def inverse(self, z: Numbers) -> Numbers:
        """Return x from z: z std + mean."""
        return z * _aligned(self, _divisor(self.std), z) + _aligned(self, self.mean, z)


class Center(Value):
    """Shift to mean 0: z = x - mean.

    With `axis=0` it subtracts the mean image, as AlexNet does; with `axis=(0, 1, 2)` the
    mean of each channel, as VGG does.

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional
    neural networks"; Simonyan & Zisserman 2015, "Very deep convolutional networks".

    Args:
        mean: Broadcast against x.

    Raises:
        ValueError: When called on x of another shape than what it was fitted on.
        TypeError: When called on numbers that are not floating-point.

    Example:
        >>> images = jax.random.uniform(jax.random.key(0), (100, 8, 8, 3))
        >>> fnn.data.Center.fit(images).mean.shape
        (1, 8, 8, 3)
        >>> fnn.data.Center.fit(images, axis=(0, 1, 2)).mean.shape
        (1, 1, 1, 3)
    """

    mean: Any

    def __post_init__(self) -> None:
        self._set(mean=_as_numpy(self.mean))

    @classmethod
    def fit(cls, x: ArrayLike, axis: int | tuple[int, ...] = 0) -> "Center":
        """Measure the mean over some axes; arguments as for `Standardize.fit`."""
        x, axis = _training_data(x, axis)
        return cls(x.mean(axis, np.float64, keepdims=True).astype(x.dtype))

    def __call__(self, x: Numbers) -> Numbers:
        """Return x - mean."""
        return x - _aligned(self, self.mean, x)

    def inverse(self, z: Numbers) -> Numbers:
        """Return x from z: z + mean."""
        return z + _aligned(self, self.mean, z)


class MinMax(Value):
    """Shift and scale to the range from 0 to 1: z = (x - low) / (high - low).

    Data that it was not fitted on may exceed the range.

    Args:
        low: Broadcast against x.
        high: Broadcast against x; where it is `low`, x is only shifted.

    Raises:
        ValueError: If `low` exceeds `high`, or when called on x of another shape than
            what it was fitted on.
        TypeError: When called on numbers that are not floating-point.

    Example:
        >>> x = jax.numpy.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])
        >>> fnn.data.MinMax.fit(x)(x)
        Array([[0. , 0. ],
               [1. , 0. ],
               [0.5, 0. ]], dtype=float32)
    """

    low: Any
    high: Any

    def __post_init__(self) -> None:
        self._set(low=_as_numpy(self.low), high=_as_numpy(self.high))
        if not (self.low <= self.high).all():
            raise ValueError(f"low must not exceed high, got {self.low} and {self.high}")

    @classmethod
    def fit(cls, x: ArrayLike, axis: int | tuple[int, ...] = 0) -> "MinMax":
        """Measure the range over some axes; arguments as for `Standardize.fit`."""
        x, axis = _training_data(x, axis)
        return cls(x.min(axis, keepdims=True), x.max(axis, keepdims=True))

    def __call__(self, x: Numbers) -> Numbers:
        """Return (x - low) / (high - low)."""
        span = _aligned(self, _divisor(self.high - self.low), x)
        return (x - _aligned(self, self.low, x)) / span

    def inverse(self, z: Numbers) -> Numbers:
        """Return x from z: z (high - low) + low."""
        span = _aligned(self, _divisor(self.high - self.low), z)
        return z * span + _aligned(self, self.low, z)


class UnitLength(Value):
    """Scale vectors to Euclidean length 1: z = x / ‖x‖; zero vectors stay zero.

    Nothing is measured on training data, and the length is lost.

    Args:
        axis: The axes of a vector; (-3, -2, -1) takes each image as one.

    Raises:
        ValueError: When called on x without these axes.
        TypeError: When called on numbers that are not floating-point.

    Example:
        >>> fnn.data.UnitLength()(jax.numpy.array([[3.0, 4.0], [0.0, 0.0]]))
        Array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
    """

    axis: int | tuple[int, ...] = -1

    def __post_init__(self) -> None:
        if isinstance(self.axis, list):
            self._set(axis=tuple(self.axis))

    def __call__(self, x: Numbers) -> Numbers:
        """Return x / ‖x‖."""
        checks.floating("UnitLength", x)
        axis = normalize_axis_tuple(self.axis, x.ndim, "axis of UnitLength")
        # Scaled by the largest element, squares neither overflow nor vanish.
        largest = abs(x).max(axis, keepdims=True)
        zero = largest == 0
        scaled = (x / (largest + zero.astype(x.dtype))).astype(wide(x.dtype))
        square = (scaled * scaled).sum(axis, keepdims=True)
        return (scaled / (square + zero.astype(square.dtype)) ** 0.5).astype(x.dtype)


def one_hot(labels: ArrayLike, classes: int) -> NDArray:
    """Return vectors with 1 at the label and 0 elsewhere: tₖ = [k = label].

    Args:
        labels: Integers from 0 to `classes` - 1, of any shape (...).
        classes: The number of classes.

    Returns:
        (..., classes), float32.

    Raises:
        TypeError: If the labels are not integers.
        ValueError: If a label is out of range, or `classes` is no positive integer.

    Example:
        >>> fnn.data.one_hot([0, 2], 3)
        array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    classes = checks.positive_integer("classes", classes)
    labels = checks.as_numpy(labels, "labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {checks.describe(labels)}")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"labels must be from 0 to {classes - 1} for {classes} classes, "
            f"got {labels.min()} to {labels.max()}"
        )
    return (labels[..., None] == np.arange(classes)).astype(np.float32)


def _training_data(
    x: ArrayLike, axis: int | tuple[int, ...]
) -> tuple[NDArray, tuple[int, ...]]:
    """Return the data as a NumPy array, and the axes to measure over as a tuple."""
    x = checks.as_numpy(x, "x")
    checks.floating("fit", x)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"x of shape {x.shape} is empty, or not finite throughout")
    axes = normalize_axis_tuple(axis, x.ndim, "axis")
    if 0 not in axes:
        raise ValueError(f"axis must contain 0, the axis of the examples, got {axis}")
    return x, axes


def _aligned(owner: Value, statistic: NDArray, x: Any) -> NDArray:
    """Return a statistic with the dtype of x, such that it broadcasts to x's shape."""
    name = type(owner).__name__
    checks.floating(name, x)
    one_example = statistic.ndim == x.ndim + 1 and len(statistic) == 1
    fitted = statistic[0] if one_example else statistic
    pairs = zip(fitted.shape[::-1], x.shape[::-1], strict=False)
    if fitted.ndim > x.ndim or any(size not in (1, length) for size, length in pairs):
        raise ValueError(
            f"{name} was fitted with statistics of shape {statistic.shape}, which don't "
            f"fit x {checks.describe(x)}"
        )
    leading = tuple(range(x.ndim - fitted.ndim))
    return np.expand_dims(fitted, leading).astype(x.dtype)


def _divisor(scale: NDArray) -> NDArray:
    return np.where(scale == 0, np.ones_like(scale), scale)


def _as_numpy(array: Any) -> NDArray:
    """Return an array of the dtype that JAX would give it."""
    array = np.asarray(array)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
