"""Convolutions by oneDNN, which PyTorch uses too, and which jaxlib for x86 holds.

XLA hands nothing to it by itself, so it is called by the name that XLA has for it, which
no documentation promises. It has convolutions forward alone: so the gradient of the input
is one, and that of the kernel is left to XLA.
"""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.convolution.layers import program
from benchmarks.convolution.work import parse
from benchmarks.suite import Program, RefusedError
from fnn.layers.convolving.correlation import convolve
from fnn.layers.convolving.windows import slide

TARGET = "__onednn$convolution"


def build(case: str) -> Program:
    """Make a case ready."""
    work = parse(case)
    if work.pool or work.loop or work.groups > 1:
        raise RefusedError("is of plain convolutions")
    return program(work, convolution)


@jax.custom_vjp
def convolution(x: Any, kernel: Any) -> Any:
    """Return the convolution of a batch of images, which keep their size."""
    return _forward(x, kernel)


def _kept(x: Any, kernel: Any) -> tuple[Any, tuple[Any, Any]]:
    return _forward(x, kernel), (x, kernel)


def _gradients(kept: tuple[Any, Any], g: Any) -> tuple[Any, Any]:
    x, kernel = kept
    window = slide(kernel.shape[:2], 1, 1, "same", x.shape[1:-1])
    by_xla = functools.partial(convolve, window=window, groups=1, form="ordered")
    pull = jax.vjp(functools.partial(jax.vmap(by_xla, (0, None)), x), kernel)[1]
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return _forward(g, flipped), *pull(g)


convolution.defvjp(_kept, _gradients)


def _forward(x: Any, kernel: Any) -> Any:
    """Call oneDNN; its numbers are texts, as 64-bit integers are in such JSON."""
    size, features = kernel.shape[0], kernel.shape[-1]
    images = {"batch_dim": "0", "feature_dim": "3", "spatial_dims": ["1", "2"]}
    weights = {"input_feature_dim": "2", "output_feature_dim": "3"}
    config = {
        "dims": "4",
        "input": {"dims": "4", "data": images},
        "kernel": {"dims": "4", "filter": weights | {"spatial_dims": ["0", "1"]}},
        "output": {"dims": "4", "data": images},
        "window": {
            "size": [str(size)] * 2,
            "pad_left": [str((size - 1) // 2)] * 2,
            "pad_right": [str(size // 2)] * 2,
            "strides": ["1", "1"],
            "window_dilations": ["1", "1"],
        },
        "feature_groups": "1",
    }
    call = jax.ffi.ffi_call(
        TARGET,
        jax.ShapeDtypeStruct((*x.shape[:-1], features), x.dtype),
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return call(x, kernel)
