"""Preprocessing as values, measured on training data only.

Each takes a stack of examples or a single one, in NumPy or JAX, and keeps the dtype, so it
can be a part of a `Sequential`. Statistics fitted on float64 are float64, and are
subtracted from float64 data before any rounding to float32.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike

from fnn import checks
from fnn.types import Array, NDArray, as_dtype, wide
from fnn.values import Value, show

Numbers = TypeVar("Numbers", NDArray, Array)


class _Fitted(Value):
    """Base of values with statistics; prints dtypes that JAX lacks as lists."""

    def _arguments(self) -> Iterator[str]:
        for statistic in vars(self).values():
            if isinstance(statistic, np.ndarray):
                known = jax.dtypes.canonicalize_dtype(statistic.dtype) == statistic.dtype
                yield show(statistic if known else statistic.tolist())


class Standardize(_Fitted):
    """Shift and scale to mean 0 and standard deviation 1: z = (x - mean) / std.

    With `axis=(0, 1, 2)` this is the per-channel normalization of images.

    Source: He et al. 2016, "Deep residual learning for image recognition", for images.

    Args:
        mean: Broadcast against x.
        std: Broadcast against x; where it is 0, as for a pixel that never changes, x is
            only shifted.

    Raises:
        ValueError: If `std` is negative, or when called on x of another shape than it was
            fitted on.
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
        mean, std = _moments(x, axis)
        # A float64 constant must not seem to vary because of rounding.
        varies = x.max(axis, keepdims=True) > x.min(axis, keepdims=True)
        return cls(mean.astype(x.dtype), np.where(varies, std, 0).astype(x.dtype))

    def __call__(self, x: Numbers) -> Numbers:
        """Return (x - mean) / std."""
        mean, std = (_aligned(self, statistic, x) for statistic in (self.mean, self.std))
        scale = _scale(mean, std)
        return _shifted(x, mean, std * scale, scale)

    def inverse(self, z: Numbers) -> Numbers:
        """Return x from z: z std + mean."""
        mean, std = (_aligned(self, statistic, z) for statistic in (self.mean, self.std))
        scale = _scale(mean, std)
        return _shifted_back(z, mean, std * scale, scale)


class Center(_Fitted):
    """Shift to mean 0: z = x - mean.

    With `axis=0` it subtracts the mean image, as AlexNet does; with `axis=(0, 1, 2)` the
    mean of each channel, as VGG does.

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional
    neural networks"; Simonyan & Zisserman 2015, "Very deep convolutional networks".

    Args:
        mean: Broadcast against x.

    Raises:
        ValueError: When called on x of another shape than it was fitted on.
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
        return cls(_moments(x, axis)[0].astype(x.dtype))

    def __call__(self, x: Numbers) -> Numbers:
        """Return x - mean."""
        mean = _aligned(self, self.mean, x)
        return as_dtype(as_dtype(x, mean.dtype) - mean, x.dtype)

    def inverse(self, z: Numbers) -> Numbers:
        """Return x from z: z + mean."""
        mean = _aligned(self, self.mean, z)
        return as_dtype(as_dtype(z, mean.dtype) + mean, z.dtype)


class MinMax(_Fitted):
    """Shift and scale to the range from 0 to 1: z = (x - low) / (high - low).

    Other data than it was fitted on may exceed the range.

    Args:
        low: Broadcast against x.
        high: Broadcast against x; where it is `low`, x is only shifted.

    Raises:
        ValueError: If `low` exceeds `high`, or when called on x of another shape than
            it was fitted on.
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
        low, high = (_aligned(self, bound, x) for bound in (self.low, self.high))
        scale = _scale(low, high)
        return _shifted(x, low, high * scale - low * scale, scale)

    def inverse(self, z: Numbers) -> Numbers:
        """Return x from z: z (high - low) + low."""
        low, high = (_aligned(self, bound, z) for bound in (self.low, self.high))
        scale = _scale(low, high)
        return _shifted_back(z, low, high * scale - low * scale, scale)


class UnitLength(Value):
    """Scale vectors to Euclidean length 1: z = x / ‖x‖; zero vectors stay zero.

    Nothing is measured on training data, and the length is lost.

    Args:
        axis: The axes of a vector; (-3, -2, -1) treats each image as one vector.

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
        # Divided by the largest element, squares neither overflow nor vanish.
        largest = abs(x).max(axis, keepdims=True)
        zero = largest == 0
        precise = wide(x.dtype)
        largest = (largest + zero.astype(x.dtype)).astype(precise)
        scaled = x.astype(precise) / largest
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
        ValueError: If a label is out of range, or `classes` is not a positive integer.

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
        raise ValueError(f"x of shape {x.shape} is empty or has values that are not finite")
    axes = normalize_axis_tuple(axis, x.ndim, "axis")
    if 0 not in axes:
        raise ValueError(f"axis must contain 0, the axis of the examples, got {axis}")
    return x, axes


def _moments(x: NDArray, axis: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """Return mean and deviation, float64; their squares neither overflow nor vanish.

    They are measured on x times a power of two, which is exact.
    """
    scaled = x.astype(np.float64)
    _, exponent = np.frexp(abs(scaled).max(axis, keepdims=True))
    scaled = np.ldexp(scaled, -exponent)
    mean = scaled.mean(axis, keepdims=True)
    scaled -= mean
    std = np.sqrt(np.mean(np.square(scaled, out=scaled), axis, keepdims=True))
    return np.ldexp(mean, exponent), np.ldexp(std, exponent)


def _scale(*statistics: NDArray) -> float:
    """Return 1/16 if differences or reciprocals of the statistics overflow, else 1."""
    limits = jnp.finfo(statistics[0].dtype)
    large = float(limits.max) * float(limits.eps)
    return (
        1 / 16 if any((abs(statistic) > large).any() for statistic in statistics) else 1.0
    )


def _shifted(x: Any, origin: NDArray, length: NDArray, scale: float) -> Any:
    """Return (scale x - scale origin) / length in x's dtype, computed in a wide one."""
    wide_x = as_dtype(x, origin.dtype)
    if scale != 1:
        wide_x, origin = wide_x * scale, origin * scale
    return as_dtype((wide_x - origin) / _divisor(length, scale), x.dtype)


def _shifted_back(z: Any, origin: NDArray, length: NDArray, scale: float) -> Any:
    """Return (length z + scale origin) / scale in z's dtype, computed in a wide one."""
    wide_z = as_dtype(z, origin.dtype) * _divisor(length, scale)
    if scale != 1:
        return as_dtype((wide_z + origin * scale) / scale, z.dtype)
    return as_dtype(wide_z + origin, z.dtype)


def _aligned(owner: Value, statistic: NDArray, x: Any) -> NDArray:
    """Return a statistic in the wide dtype of x, shaped to broadcast to x."""
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
    # First round to x's dtype, so that a bound of x in its dtype stays an exact bound.
    return np.expand_dims(fitted, leading).astype(x.dtype).astype(wide(x.dtype))


def _divisor(length: NDArray, otherwise: float) -> NDArray:
    return np.where(length == 0, np.full_like(length, otherwise), length)


def _as_numpy(array: Any) -> NDArray:
    """Return an array in the dtype that JAX would give it, except that float64 stays."""
    array = np.asarray(array)
    if array.dtype == np.float64:
        return array
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
