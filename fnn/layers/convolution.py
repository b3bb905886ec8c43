"""Convolution in one, two or three dimensions, its adjoint, and depthwise convolution."""

import dataclasses
import functools
import operator
from typing import Literal

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.initializers import lecun_normal, zeros
from fnn.layers.base import Layer
from fnn.layers.convolving.arguments import (
    Padding,
    PerAxis,
    check_example,
    checked_padding,
    one_per_axis,
    per_axis,
    window_size,
)
from fnn.layers.convolving.correlation import convolve, fastest
from fnn.layers.convolving.windows import extent, padding_pairs, slide
from fnn.types import Array, Initializer, Key, Params, Shape, State


class _Convolution(Layer):
    features: int
    kernel_size: tuple[int, ...]
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    groups: int = 1
    bias: bool | Literal["per_position"] = True
    kernel_init: Initializer = lecun_normal
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        checks.options(self, but=("bias",))
        size = window_size("kernel_size", self.kernel_size)
        self._set(
            features=checks.positive_integer("features", self.features),
            kernel_size=size,
            stride=per_axis("stride", self.stride, len(size)),
            padding=checked_padding(self.padding, len(size)),
            dilation=per_axis("dilation", self.dilation, len(size)),
            groups=checks.positive_integer("groups", self.groups),
        )
        checks.one_of("bias", self.bias, (True, False, "per_position"))
        if self.features % self.groups:
            raise ValueError(
                f"groups must divide the features, {self.features}, got {self.groups}"
            )

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        owner = type(self).__name__
        checks.typed_key(key, f"{owner}.init")
        check_example(owner, x, len(self.kernel_size))
        channels, dtype = x.shape[-1], checks.floating(owner, x)
        if channels % self.groups:
            raise ValueError(
                f"groups must divide the channels, {channels}, got {self.groups}"
            )
        kernel_key, bias_key = jax.random.split(key)
        shape = (*self.kernel_size, channels // self.groups, self.features)
        kernel = self.kernel_init(kernel_key, shape, dtype)
        output = jax.eval_shape(self._linear, kernel, jax.ShapeDtypeStruct(x.shape, dtype))
        if not self.bias:
            return {"kernel": kernel}, {}
        shape = output.shape if self.bias == "per_position" else (self.features,)
        return {"kernel": kernel, "bias": self.bias_init(bias_key, shape, dtype)}, {}

    def forward(self, params: Params, x: Array) -> Array:
        kernel = params["kernel"]
        check_example(type(self).__name__, x, len(self.kernel_size))
        _check_channels(type(self).__name__, x, kernel, kernel.shape[-2] * self.groups)
        y = self._linear(kernel, x)
        if not self.bias:
            return y
        bias = params["bias"]
        if self.bias == "per_position" and bias.shape != y.shape:
            raise ValueError(
                f"{type(self).__name__} has a bias per position, initialized for an "
                f"output of shape {bias.shape}; x {checks.describe(x)} gives {y.shape}"
            )
        return y + jnp.expand_dims(bias, tuple(range(y.ndim - bias.ndim)))

    def _linear(self, kernel: Array, x: Array) -> Array:
        """Convolve without the bias."""
        raise TypeError(f"{type(self).__name__} defines no _linear")


class Conv(_Convolution):
    """Convolve: y[i, f] = b[f] + Σₖ Σ_c K[k, c, f] x[stride · i + dilation · k, c].

    The kernel is not flipped: this is a cross-correlation, as everywhere in deep learning.
    The length of `kernel_size` says whether x is a sequence, (length, channels), an image,
    (height, width, channels), or a volume, (depth, height, width, channels). Along an axis
    of n elements the window spans dilation (k - 1) + 1 of them, and there are

        ⌊(n + low + high - dilation (k - 1) - 1) / stride⌋ + 1

    outputs. K is `kernel`, (window..., in / groups, features), b `bias`, (features,).

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".

    Args:
        features: The number of output features.
        kernel_size: The window's size, an integer for each spatial axis: `(3, 3)`.
        stride: How far the window moves, an integer or one per axis.
        padding: Zeros around x: `"valid"` for none; `"same"` for enough to give
            ⌈n / stride⌉ outputs, an odd zero going at the end; `"causal"`, for sequences,
            for dilation (k - 1) zeros before x; an integer for that number on each side;
            or a (low, high) pair per axis.
        dilation: The distance between elements of the window, an integer or one per axis.
        groups: The number of groups that channels and features are split into; features of
            a group see the channels of that group only.
        bias: Whether to add a bias; `"per_position"` adds one of the shape of the output,
            (spatial..., features), which ties the layer to one size of x.
        kernel_init: Makes the kernel; called `(key, shape, dtype)`.
        bias_init: Makes the bias.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: If an argument is invalid, if x does not have the axes or the channels
            that it should have, or if x is smaller than the window.

    Example:
        >>> layer, image = fnn.Conv(8, (3, 3), padding="same"), jax.numpy.ones((28, 28, 1))
        >>> params, state = layer.init(jax.random.key(0), image)
        >>> jax.tree.map(jax.numpy.shape, params)
        {'bias': (8,), 'kernel': (3, 3, 1, 8)}
        >>> layer(params, image).shape
        (28, 28, 8)
    """

    def _linear(self, kernel: Array, x: Array) -> Array:
        spatial = x.shape[:-1]
        window = slide(self.kernel_size, self.stride, self.dilation, self.padding, spatial)
        return convolve(x, kernel, window, self.groups)


class ConvTranspose(_Convolution):
    """Let each element stamp the kernel: y[s i + d k, f] += K[k, c, f] x[i, c].

    This is the adjoint of the `Conv` with the same arguments, from its features to its
    channels: ⟨Conv(y), x⟩ = ⟨y, ConvTranspose(x)⟩. So it cuts off from its output as many
    elements as `padding` adds to the input of the `Conv`. From an axis of n elements it
    makes

        (n - 1) stride + dilation (k - 1) + 1 - low - high + output_padding,

    and n · stride with padding `"same"`. K is `kernel`, (window..., in / groups, features):
    that of the `Conv`, with the last two axes swapped. b is `bias`, (features,).

    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning".

    Args:
        features: The number of output features.
        kernel_size: The size of a stamp, an integer for each spatial axis: `(3, 3)`.
        stride: The distance between stamps, an integer or one per axis.
        padding: `"valid"`, `"same"`, an integer, or a (low, high) pair per axis.
        dilation: The distance between elements of a stamp, an integer or one per axis.
        groups: The number of groups that channels and features are split into.
        bias: Whether to add a bias; `"per_position"` adds one of the shape of the output.
        kernel_init: Makes the kernel; called `(key, shape, dtype)`.
        bias_init: Makes the bias.
        output_padding: The number of elements added at the end of the output. The `Conv`
            does not read them if its stride leads beyond; an integer or one per axis.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: As for `Conv`, or if the output would be empty.

    Example:
        >>> layer, x = fnn.ConvTranspose(1, (2, 2), stride=2), jax.numpy.ones((7, 7, 8))
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer(params, x).shape
        (14, 14, 1)
    """

    output_padding: PerAxis = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = len(self.kernel_size)
        extra = per_axis("output_padding", self.output_padding, axes, least=0)
        self._set(output_padding=extra)
        if self.padding == "causal":
            raise ValueError("ConvTranspose has no padding 'causal': it would look ahead")
        stride, added = one_per_axis(self.stride, axes), one_per_axis(extra, axes)
        if self.padding == "same" and any(added):
            raise ValueError("output_padding has no meaning with padding 'same'")
        if any(map(operator.ge, added, stride)):
            raise ValueError(
                f"output_padding must be less than the stride, {self.stride}, got {extra}"
            )

    def _linear(self, kernel: Array, x: Array) -> Array:
        spatial = self._output_size(x.shape[:-1])
        window = slide(self.kernel_size, self.stride, self.dilation, self.padding, spatial)
        kernel = _swap(kernel, self.groups)
        form = fastest(kernel, self.groups)
        form = "patches" if form == "ordered" else form
        conv = functools.partial(
            convolve, kernel=kernel, window=window, groups=self.groups, form=form
        )
        y = jax.ShapeDtypeStruct((*spatial, self.features), x.dtype)
        return jax.linear_transpose(conv, y)(x)[0]

    def _output_size(self, spatial: Shape) -> Shape:
        axes = len(spatial)
        stride = one_per_axis(self.stride, axes)
        if self.padding == "same":
            return tuple(map(operator.mul, spatial, stride))
        stamps = extent(self.kernel_size, one_per_axis(self.dilation, axes))
        padding = padding_pairs(self.padding, stamps)
        extra = one_per_axis(self.output_padding, axes)
        terms = zip(spatial, stride, stamps, padding, extra, strict=True)
        size = tuple((n - 1) * s + k - sum(pair) + more for n, s, k, pair, more in terms)
        if min(size) < 1:
            raise ValueError(
                f"padding {self.padding} of ConvTranspose cuts x of spatial size {spatial} "
                f"down to nothing: the output would have the size {size}"
            )
        return size


class DepthwiseConv(Layer):
    """Convolve each channel by itself: y[i, c m + j] = Σₖ K[k, c m + j] x[s i + d k, c].

    It makes m = `multiplier` features from each channel c. It is the `Conv` with one group
    for each channel, and has the same parameters: K is `kernel`, (window..., 1, in · m),
    b is `bias`, (in · m,).

    Source: Chollet 2017, "Xception: deep learning with depthwise separable convolutions".

    Args:
        kernel_size: The window's size, an integer for each spatial axis: `(3, 3)`.
        multiplier: The number of features made from each channel.
        stride: As for `Conv`, like all arguments that follow.
        padding: Zeros around x.
        dilation: The distance between elements of the window.
        bias: Whether to add a bias, or `"per_position"`.
        kernel_init: Makes the kernel; called `(key, shape, dtype)`.
        bias_init: Makes the bias.

    Raises:
        TypeError: If x is not floating-point.
        ValueError: As for `Conv`.

    Example:
        >>> layer, image = fnn.DepthwiseConv((3, 3), 2), jax.numpy.ones((8, 8, 3))
        >>> params, state = layer.init(jax.random.key(0), image)
        >>> layer(params, image).shape
        (6, 6, 6)
    """

    kernel_size: tuple[int, ...]
    multiplier: int = 1
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    bias: bool | Literal["per_position"] = True
    kernel_init: Initializer = lecun_normal
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        conv = self._conv(1)
        names = ("kernel_size", "stride", "padding", "dilation")
        self._set(multiplier=conv.features, **{n: getattr(conv, n) for n in names})

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        check_example("DepthwiseConv", x, len(self.kernel_size))
        return self._conv(x.shape[-1]).init(key, x)

    def forward(self, params: Params, x: Array) -> Array:
        check_example("DepthwiseConv", x, len(self.kernel_size))
        channels = params["kernel"].shape[-1] // self.multiplier
        _check_channels("DepthwiseConv", x, params["kernel"], channels)
        return self._conv(channels).forward(params, x)

    def _conv(self, channels: int) -> Conv:
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        multiplier = checks.positive_integer("multiplier", options.pop("multiplier"))
        return Conv(multiplier * channels, groups=channels, **options)


def _check_channels(owner: str, x: Array, kernel: Array, channels: int) -> None:
    if x.shape[-1] != channels:
        raise ValueError(
            f"{owner} was initialized for x with {channels} channels, its kernel being "
            f"{checks.describe(kernel)}; got x {checks.describe(x)}"
        )


def _swap(kernel: Array, groups: int) -> Array:
    """Exchange the roles of channels and features, group by group.

    (window..., in / groups, features) to (window..., features / groups, in).
    """
    *size, channels, features = kernel.shape
    kernel = kernel.reshape(*size, channels, groups, features // groups)
    return jnp.swapaxes(kernel, -1, -3).reshape(*size, features // groups, -1)
