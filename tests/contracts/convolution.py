"""Convolutions and pools, and what they compute: plain loops over positions."""

import itertools

import numpy as np

import fnn
from contracts import LayerRow
from fnn.initializers import Normal


def tuples(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def margins(padding, spatial, reach, stride):
    """Return (low, high) for every axis, from the rules in words."""
    if padding == "same":
        totals = [
            max((-(-n // s) - 1) * s + r - n, 0)
            for n, r, s in zip(spatial, reach, stride, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]
    if padding == "causal":
        return [(r - 1, 0) for r in reach]
    if padding == "valid":
        return [(0, 0)] * len(spatial)
    return [(padding, padding)] * len(spatial) if isinstance(padding, int) else padding


def windows(x, size, stride=1, dilation=1, padding="valid", fill=0.0):
    """Return the elements in the window at each position: (positions..., window..., c)."""
    axes = len(size)
    stride, dilation = tuples(stride, axes), tuples(dilation, axes)
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    edges = margins(padding, x.shape[:-1], reach, stride)
    x = np.pad(x, [*edges, (0, 0)], constant_values=fill)
    counts = [(n - r) // s + 1 for n, r, s in zip(x.shape[:-1], reach, stride, strict=True)]
    y = np.empty((*counts, *size, x.shape[-1]))
    for i in itertools.product(*map(range, counts)):
        for k in itertools.product(*map(range, size)):
            at = (a * s + b * d for a, s, b, d in zip(i, stride, k, dilation, strict=True))
            y[i + k] = x[tuple(at)]
    return y


def convolve(x, kernel, stride=1, dilation=1, padding="valid", groups=1):
    """Return the cross-correlation, group by group."""
    axes = kernel.ndim - 2
    under = windows(x, kernel.shape[:axes], stride, dilation, padding)
    over = list(range(axes, 2 * axes + 1)), list(range(axes + 1))
    return np.concatenate(
        [
            np.tensordot(part, weights, over)
            for part, weights in zip(
                np.split(under, groups, -1), np.split(kernel, groups, -1), strict=True
            )
        ],
        axis=-1,
    )


def conv(**options):
    def oracle(params, x):
        return convolve(x, params["kernel"], **options) + params.get("bias", 0)

    return oracle


def depthwise(params, x, **options):
    channels = x.shape[-1]
    return convolve(x, params["kernel"], groups=channels, **options) + params["bias"]


def transposed(params, x, stride, cut=0):
    """Stamp the kernel once for each element of an image."""
    kernel = params["kernel"]
    size = [(n - 1) * stride + k for n, k in zip(x.shape, kernel.shape[:2], strict=False)]
    y = np.zeros((*size, kernel.shape[-1]))
    for i, j in np.ndindex(*x.shape[:2]):
        for a, b in np.ndindex(*kernel.shape[:2]):
            y[i * stride + a, j * stride + b] += x[i, j] @ kernel[a, b]
    return y[cut : size[0] - cut, cut : size[1] - cut] + params["bias"]


def pool(reduce, fill, **options):
    def oracle(params, x):
        size = options["size"]
        under = windows(x, size, options.get("stride", size), 1, options["padding"], fill)
        return reduce(under, axis=tuple(range(len(size), 2 * len(size))))

    return oracle


DRAWN = Normal(1.0)

CONVOLUTION = {
    "Conv, 1-D": LayerRow(lambda: fnn.Conv(3, (2,), bias_init=DRAWN), (5, 2), conv()),
    "Conv, causal": LayerRow(
        lambda: fnn.Conv(2, (3,), padding="causal", dilation=2),
        (5, 2),
        conv(padding="causal", dilation=2),
    ),
    "Conv, 2-D": LayerRow(
        lambda: fnn.Conv(4, (3, 2), stride=(2, 1), padding="same", bias_init=DRAWN),
        (6, 5, 12),
        conv(stride=(2, 1), padding="same"),
    ),
    "Conv, groups": LayerRow(
        lambda: fnn.Conv(6, (2, 2), groups=2, padding=1),
        (3, 4, 4),
        conv(groups=2, padding=1),
    ),
    "Conv, bias per position": LayerRow(
        lambda: fnn.Conv(2, (2, 2), bias="per_position", bias_init=DRAWN), (3, 4, 1), conv()
    ),
    "Conv, 3-D": LayerRow(
        lambda: fnn.Conv(2, (2, 1, 2), bias=False, padding=((0, 1), (0, 0), (1, 0))),
        (2, 3, 2, 2),
        conv(padding=((0, 1), (0, 0), (1, 0))),
    ),
    "ConvTranspose": LayerRow(
        lambda: fnn.ConvTranspose(2, (3, 3), stride=2, padding=1, bias_init=DRAWN),
        (3, 2, 4),
        lambda params, x: transposed(params, x, 2, 1),
    ),
    "DepthwiseConv": LayerRow(
        lambda: fnn.DepthwiseConv((2, 2), 3, padding="same"),
        (3, 4, 2),
        lambda params, x: depthwise(params, x, padding="same"),
    ),
    "MaxPool": LayerRow(
        lambda: fnn.MaxPool((2, 2)),
        (4, 5, 2),
        pool(np.max, -np.inf, size=(2, 2), padding="valid"),
    ),
    "MaxPool, overlapping": LayerRow(
        lambda: fnn.MaxPool((3, 3), stride=2, padding="same"),
        (5, 6, 2),
        pool(np.max, -np.inf, size=(3, 3), stride=2, padding="same"),
    ),
    "MinPool": LayerRow(
        lambda: fnn.MinPool((2,), padding=1),
        (5, 2),
        pool(np.min, np.inf, size=(2,), padding=1),
    ),
    "AvgPool": LayerRow(
        lambda: fnn.AvgPool((2, 2), stride=1, padding="same"),
        (4, 3, 2),
        pool(np.nanmean, np.nan, size=(2, 2), stride=1, padding="same"),
    ),
    "GlobalPool": LayerRow(
        lambda: fnn.GlobalPool("mean"), (3, 4, 2), lambda params, x: x.mean((0, 1))
    ),
    "GlobalPool, max": LayerRow(
        lambda: fnn.GlobalPool("max"), (3, 4, 2), lambda params, x: x.max((0, 1))
    ),
    "PartitionPool": LayerRow(
        lambda: fnn.PartitionPool(((0, 5), (1, 2, 3), (4,)), "min"),
        (6,),
        lambda params, x: np.array([x[[0, 5]].min(), x[1:4].min(), x[4]]),
    ),
}
