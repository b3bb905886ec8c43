"""Activations, and what they compute."""

import functools

import numpy as np
from scipy import special

from contracts import FunctionRow
from fnn import activations


def expm1(x):
    return np.expm1(np.minimum(x, 0))


def growing(x):
    """Return exp(x) below 0, and 1 from there on."""
    return np.exp(np.minimum(x, 0))


def between(low, high):
    return lambda x: 1.0 * ((x > low) & (x < high))


def density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def approximate_gelu(x):
    return x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


def approximate_gelu_slope(x):
    """Differentiate x σ(2u), with u = √(2/π) (x + 0.044715 x³)."""
    u, inner = np.sqrt(2 / np.pi) * np.array([x + 0.044715 * x**3, 1 + 3 * 0.044715 * x**2])
    p, q = special.expit(2 * u), special.expit(-2 * u)
    return p + 2 * x * p * q * inner


def mish_slope(x):
    y = np.tanh(np.logaddexp(x, 0))
    return y + x * (1 - y**2) * special.expit(x)


ALPHA, LAMBDA = 1.6732632423543772, 1.0507009873554805

ACTIVATIONS = {
    "identity": FunctionRow(activations.identity, lambda x: x, np.ones_like),
    "binary_step": FunctionRow(
        activations.binary_step, lambda x: np.where(x >= 0, 1.0, 0.0), np.zeros_like, (0.0,)
    ),
    "sign": FunctionRow(activations.sign, np.sign, np.zeros_like, (0.0,)),
    "sigmoid": FunctionRow(
        activations.sigmoid, special.expit, lambda x: special.expit(x) * special.expit(-x)
    ),
    "tanh": FunctionRow(activations.tanh, np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "relu": FunctionRow(
        activations.relu, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), (0.0,)
    ),
    "leaky_relu": FunctionRow(
        activations.leaky_relu,
        lambda x: np.where(x >= 0, x, 0.01 * x),
        lambda x: np.where(x >= 0, 1, 0.01),
        (0.0,),
    ),
    "elu": FunctionRow(
        activations.elu, lambda x: np.where(x > 0, x, expm1(x)), growing, (0.0,)
    ),
    "celu": FunctionRow(
        functools.partial(activations.celu, alpha=2.0),
        lambda x: np.where(x > 0, x, 2 * expm1(x / 2)),
        lambda x: growing(x / 2),
        (0.0,),
    ),
    "selu": FunctionRow(
        activations.selu,
        lambda x: LAMBDA * np.where(x > 0, x, ALPHA * expm1(x)),
        lambda x: LAMBDA * np.where(x > 0, 1, ALPHA * growing(x)),
        (0.0,),
    ),
    "softplus": FunctionRow(
        activations.softplus, lambda x: np.logaddexp(x, 0), special.expit
    ),
    "softsign": FunctionRow(
        activations.softsign,
        lambda x: x / (1 + np.abs(x)),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
    ),
    "gelu": FunctionRow(
        activations.gelu,
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * density(x),
    ),
    "gelu, approximate": FunctionRow(
        functools.partial(activations.gelu, approximate=True),
        approximate_gelu,
        approximate_gelu_slope,
    ),
    "silu": FunctionRow(
        activations.silu,
        lambda x: x * special.expit(x),
        lambda x: special.expit(x) * (1 + x * special.expit(-x)),
    ),
    "mish": FunctionRow(
        activations.mish, lambda x: x * np.tanh(np.logaddexp(x, 0)), mish_slope
    ),
    "relu6": FunctionRow(
        activations.relu6, lambda x: np.clip(x, 0, 6), between(0, 6), (0.0, 6.0)
    ),
    "hard_tanh": FunctionRow(
        activations.hard_tanh, lambda x: np.clip(x, -1, 1), between(-1, 1), (-1.0, 1.0)
    ),
    "hard_sigmoid": FunctionRow(
        activations.hard_sigmoid,
        lambda x: np.clip(x + 3, 0, 6) / 6,
        lambda x: between(-3, 3)(x) / 6,
        (-3.0, 3.0),
    ),
    "hard_silu": FunctionRow(
        activations.hard_silu,
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(x > 3, 1, between(-3, 3)(x) * (2 * x + 3) / 6),
        (-3.0, 3.0),
    ),
    "log_sigmoid": FunctionRow(
        activations.log_sigmoid,
        lambda x: -np.logaddexp(-x, 0),
        lambda x: special.expit(-x),
    ),
    "softmax": FunctionRow(
        activations.softmax, lambda x: special.softmax(x, -1), np.zeros_like
    ),
    "log_softmax": FunctionRow(
        activations.log_softmax,
        lambda x: special.log_softmax(x, -1),
        lambda x: 1 - len(x) * special.softmax(x),
    ),
}
