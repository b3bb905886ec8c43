"""Tangents of bilinear operations, by the transposes of gradients written by hand."""

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
    """Return the tangent of y, by the transposes of the gradients of its arguments.

    JAX transposes these back where it needs gradients, which so are as they are written.
    """
    pairs = zip(gradients, tangents, strict=True)
    moving = [(f, t) for f, t in pairs if not isinstance(t, SymbolicZero)]
    terms = [jax.linear_transpose(f, y)(t)[0] for f, t in moving]
    return functools.reduce(operator.add, terms)
