"""fnn: `make_step`, jitted and donated, with the options that its documentation names."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.suite import Program
from benchmarks.training import networks
from benchmarks.training.jax_program import program


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    model, adam = network(case.network), fnn.optimizers.Adam(networks.RATE)
    if case.bfloat16:
        model = fnn.MixedPrecision(model)
    batch = jax.tree.map(jnp.asarray, networks.batch(case))
    params, state = model.init(jax.random.key(0), batch[0][0])
    params = filled(params, iter(networks.weights(case.network)))
    loss: Any = fnn.losses.softmax_cross_entropy
    if case.network == "autoencoder":
        loss = fnn.losses.squared_error
    step = jax.jit(
        fnn.make_step(fnn.supervised(model, loss), adam),
        donate_argnums=0,
        compiler_options=fnn.compiler_options(),
    )
    carry = [fnn.TrainState.create(params, state, adam, key=jax.random.key(1))]

    def run() -> Any:
        carry[0], metrics = step(carry[0], batch)
        return metrics["loss"]

    return program(run, lambda: step.lower(carry[0], batch), case)


def filled(params: Any, arrays: Iterator[Any]) -> Any:
    """Return a tree of these arrays, in the order in which its layers come."""
    if isinstance(params, dict):
        return {name: filled(part, arrays) for name, part in params.items()}
    array = next(arrays)
    assert array.shape == params.shape, (array.shape, params.shape)
    return jnp.asarray(array)


def network(name: str) -> fnn.Layer:
    """Return the network of a name."""
    match name:
        case "lenet":
            return fnn.models.lenet()
        case "cnn":
            return cnn()
        case "resnet20":
            return fnn.models.resnet_cifar(20)
        case "resnet50":
            return resnet50()
    return fnn.models.mlp(*networks.WIDTHS[name][1:])


def cnn() -> fnn.Sequential:
    """Two convolutions, each with pooling, and two dense layers."""
    conv = functools.partial(fnn.Conv, kernel_size=(3, 3), padding="same")
    return fnn.Sequential(
        conv(32),
        jax.nn.relu,
        fnn.MaxPool((2, 2)),
        conv(64),
        jax.nn.relu,
        fnn.MaxPool((2, 2)),
        fnn.Flatten(),
        fnn.Dense(128),
        jax.nn.relu,
        fnn.Dense(10),
    )


def resnet50() -> fnn.Sequential:
    """ResNet-50, for images."""

    def normed(size: int, _: int, features: int, stride: int) -> list[Any]:
        conv = fnn.Conv(features, (size, size), stride, size // 2, bias=False)
        return [conv, fnn.BatchNorm()]

    layers = [*normed(7, 3, 64, 2), jax.nn.relu, fnn.MaxPool((3, 3), 2, padding=1)]
    for block in networks.blocks("resnet50"):
        first, second, third = (normed(*sizes) for sizes in block.convolutions)
        branch = fnn.Sequential(*first, jax.nn.relu, *second, jax.nn.relu, *third)
        around = fnn.Sequential(*normed(1, block.inputs, block.outputs, block.stride))
        residual = fnn.Residual(branch, shortcut=around if block.projects else None)
        layers += [residual, jax.nn.relu]
    return fnn.Sequential(*layers, fnn.GlobalPool("mean"), fnn.Dense(1000))
