"""Keras 3 on JAX: `Model.train_step`, jitted and donated, as `fit` does it.

`train_on_batch` would also copy all variables from and to the model, which `fit` leaves
out between the steps of an epoch.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import keras
from keras import layers

from benchmarks.suite import Program, RefusedError
from benchmarks.training import networks
from benchmarks.training.jax_program import program


def mlp(x: Any, *widths: int) -> Any:
    """Apply dense layers, with ReLU between them."""
    for width in widths[:-1]:
        x = layers.Dense(width, activation="relu")(x)
    return layers.Dense(widths[-1])(x)


def normed(size: int, _: int, features: int, stride: int) -> list[Any]:
    """Return a convolution and a batch norm."""
    conv = functools.partial(layers.Conv2D, use_bias=False)
    norm = layers.BatchNormalization(momentum=0.9, epsilon=networks.EPS)
    margin = layers.ZeroPadding2D(size // 2)  # "same" pads on one side where it strides
    return [margin, conv(features, size, stride), norm]


def resnet20(x: Any) -> Any:
    """Apply ResNet-20."""
    x = keras.Sequential([*normed(3, 3, 16, 1), layers.ReLU()])(x)
    for block in networks.blocks("resnet20"):
        first, second = (normed(*sizes) for sizes in block.convolutions)
        y = keras.Sequential([*first, layers.ReLU(), *second])(x)
        if block.projects:
            sizes = (1, block.inputs, block.outputs, block.stride)
            x = keras.Sequential(normed(*sizes))(x)
        x = layers.ReLU()(layers.Add()([y, x]))
    return mlp(layers.GlobalAveragePooling2D()(x), 10)


def network(name: str) -> Any:
    """Return the model of a network."""
    inputs = x = keras.Input(networks.SHAPES.get(name, (784,)))
    conv = functools.partial(layers.Conv2D, activation="relu")
    match name:
        case "lenet":
            x = layers.MaxPooling2D()(conv(6, 5, padding="same")(x))
            x = layers.MaxPooling2D()(conv(16, 5)(x))
            y = mlp(layers.Flatten()(x), 120, 84, 10)
        case "cnn":
            for features in (32, 64):
                x = layers.MaxPooling2D()(conv(features, 3, padding="same")(x))
            y = mlp(layers.Flatten()(x), 128, 10)
        case "resnet20":
            y = resnet20(x)
        case _:
            y = mlp(x, *networks.WIDTHS[name][1:])
    return keras.Model(inputs, layers.Activation("linear", dtype="float32")(y))


def compiled(name: str) -> Any:
    """Return the model of a network with its weights, its loss and its optimizer."""
    model = network(name)
    arrays = networks.weights(name)
    for variable, array in zip(model.trainable_variables, arrays, strict=True):
        variable.assign(array)

    def squared_error(target: Any, output: Any) -> Any:
        return keras.ops.sum(keras.ops.square(target - output), -1)

    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = squared_error if name == "autoencoder" else entropy
    model.compile(keras.optimizers.Adam(networks.RATE, epsilon=1e-8), loss)
    return model


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    if case.network == "resnet50":
        raise RefusedError("not written for this network")
    keras.config.set_dtype_policy("mixed_bfloat16" if case.bfloat16 else "float32")
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    model = compiled(case.network)
    model.optimizer.build(model.trainable_variables)
    model._symbolic_build(data_batch=(x, y))  # which `fit` calls
    step = jax.jit(model.train_step, donate_argnums=0)
    parts = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    carry = [tuple([jnp.copy(v.value) for v in part] for part in parts)]

    def run() -> Any:
        logs, carry[0] = step(carry[0], (x, y, None))
        return logs["loss"]

    def lower() -> Any:
        return step.lower(carry[0], (x, y, None))

    return program(run, lower, case, losses_of=from_means)


def from_means(means: list[float]) -> list[float]:
    """Return the losses of steps, given their means so far, which Keras reports."""
    totals = [count * mean for count, mean in enumerate(means, start=1)]
    return [b - a for a, b in itertools.pairwise([0.0, *totals])]
