"""Tangents of bilinear operations whose gradients are written by hand."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from fnn.types import Array


def tangent_by(
    gradients: Sequence[Callable[[Array], Array]], y: Array, tangents: Sequence[Any]
) -> Array:
    """Return the tangent of y: the sum of the transposed gradients of its arguments.

    In reverse mode JAX transposes these once more, and so runs the gradients as they are
    written. Forward mode works too, which `jax.custom_vjp` rules out.

    Args:
        gradients: For each argument, the linear map from the cotangent of y to its
            gradient.
        y: The output.
        tangents: The tangents of the arguments; symbolic zeros are left out.
    """
    pairs = zip(gradients, tangents, strict=True)
    moving = [(f, t) for f, t in pairs if not isinstance(t, SymbolicZero)]
    terms = [jax.linear_transpose(f, y)(t)[0] for f, t in moving]
    return functools.reduce(operator.add, terms)
