"""Activations, and what they compute."""

import functools

import numpy as np
from scipy import special

from contracts import FunctionRow
from fnn import activations


def expm1(x):
    return np.expm1(np.minimum(x, 0))


ALPHA, LAMBDA = 1.6732632423543772, 1.0507009873554805

ACTIVATIONS = {
    "identity": FunctionRow(activations.identity, lambda x: x),
    "binary_step": FunctionRow(
        activations.binary_step, lambda x: np.where(x >= 0, 1.0, 0.0), (0.0,)
    ),
    "sign": FunctionRow(activations.sign, np.sign, (0.0,)),
    "sigmoid": FunctionRow(activations.sigmoid, special.expit),
    "tanh": FunctionRow(activations.tanh, np.tanh),
    "relu": FunctionRow(activations.relu, lambda x: np.maximum(x, 0), (0.0,)),
    "leaky_relu": FunctionRow(
        activations.leaky_relu, lambda x: np.where(x >= 0, x, 0.01 * x), (0.0,)
    ),
    "elu": FunctionRow(activations.elu, lambda x: np.where(x > 0, x, expm1(x)), (0.0,)),
    "celu": FunctionRow(
        functools.partial(activations.celu, alpha=2.0),
        lambda x: np.where(x > 0, x, 2 * expm1(x / 2)),
        (0.0,),
    ),
    "selu": FunctionRow(
        activations.selu,
        lambda x: LAMBDA * np.where(x > 0, x, ALPHA * expm1(x)),
        (0.0,),
    ),
    "softplus": FunctionRow(activations.softplus, lambda x: np.logaddexp(x, 0)),
    "softsign": FunctionRow(activations.softsign, lambda x: x / (1 + np.abs(x))),
    "gelu": FunctionRow(
        activations.gelu, lambda x: x * (1 + special.erf(x / np.sqrt(2))) / 2
    ),
    "gelu, approximate": FunctionRow(
        functools.partial(activations.gelu, approximate=True),
        lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    "silu": FunctionRow(activations.silu, lambda x: x * special.expit(x)),
    "mish": FunctionRow(activations.mish, lambda x: x * np.tanh(np.logaddexp(x, 0))),
    "relu6": FunctionRow(activations.relu6, lambda x: np.clip(x, 0, 6), (0.0, 6.0)),
    "hard_tanh": FunctionRow(
        activations.hard_tanh, lambda x: np.clip(x, -1, 1), (-1.0, 1.0)
    ),
    "hard_sigmoid": FunctionRow(
        activations.hard_sigmoid, lambda x: np.clip(x + 3, 0, 6) / 6, (-3.0, 3.0)
    ),
    "hard_silu": FunctionRow(
        activations.hard_silu, lambda x: x * np.clip(x + 3, 0, 6) / 6, (-3.0, 3.0)
    ),
    "log_sigmoid": FunctionRow(activations.log_sigmoid, lambda x: -np.logaddexp(-x, 0)),
    "softmax": FunctionRow(activations.softmax, lambda x: special.softmax(x, -1)),
    "log_softmax": FunctionRow(
        activations.log_softmax, lambda x: special.log_softmax(x, -1)
    ),
}
