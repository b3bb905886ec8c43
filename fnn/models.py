"""Models of the course, each a short expression of layers, for one example."""

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax.numpy as jnp

from fnn import checks
from fnn.activations import binary_step, relu, sigmoid
from fnn.initializers import he_normal, zeros
from fnn.layers.base import Layer
from fnn.layers.combinators import Residual, Sequential
from fnn.layers.convolution import Conv
from fnn.layers.linear import Dense, Flatten
from fnn.layers.normalization import BatchNorm, GroupNorm
from fnn.layers.pooling import GlobalPool, MaxPool
from fnn.layers.stochastic import Dropout, StochasticDepth
from fnn.lazy import explain_missing as _explain_missing
from fnn.types import Array, Params

Activation: TypeAlias = Callable[[Array], Array]


def perceptron(outputs: int = 1) -> Sequential:
    """Make Rosenblatt's perceptron: y = step(x W + b), starting from zero.

    Its step has no gradient; it learns by its own rule, not by descent.

    Source: Rosenblatt 1958, "The perceptron".

    Args:
        outputs: The number of outputs, each 0 or 1.

    Example:
        >>> fnn.models.perceptron()
        fnn.Sequential(
            fnn.Flatten(),
            fnn.Dense(1, kernel_init=fnn.initializers.zeros),
            fnn.activations.binary_step,
        )
    """
    return Sequential(Flatten(), Dense(outputs, kernel_init=zeros), binary_step)


def linear_regression(outputs: int = 1) -> Sequential:
    """Make linear regression: y = x W + b, to be trained with `squared_error`.

    Args:
        outputs: The number of outputs.

    Example:
        >>> fnn.models.linear_regression()
        fnn.Sequential(fnn.Flatten(), fnn.Dense(1))
    """
    return Sequential(Flatten(), Dense(outputs))


def logistic_regression(classes: int = 2) -> Sequential:
    """Make logistic regression, which gives logits z = x W + b.

    Two classes have one logit, for `binary_cross_entropy`; more classes have one each, for
    `softmax_cross_entropy`.

    Args:
        classes: The number of classes.

    Raises:
        ValueError: If there are fewer than two classes.

    Example:
        >>> fnn.models.logistic_regression(3)
        fnn.Sequential(fnn.Flatten(), fnn.Dense(3))
    """
    if checks.positive_integer("classes", classes) < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    return Sequential(Flatten(), Dense(1 if classes == 2 else classes))


def mlp(*widths: int, activation: Activation = relu, dropout: float = 0.0) -> Sequential:
    """Make a multi-layer perceptron; the last width is the number of outputs.

    Args:
        *widths: Output features of each layer: `mlp(512, 512, 10)` has two hidden ones.
        activation: The function after each hidden layer.
        dropout: The dropout rate after each hidden layer; 0 leaves dropout out.

    Raises:
        ValueError: If `widths` is empty.

    Example:
        >>> model = fnn.models.mlp(128, 10)
        >>> [row.path for row in fnn.summary(model, jax.numpy.ones((28, 28))).rows]
        ['flatten_0', 'dense_0', 'relu_0', 'dense_1']
    """
    if not widths:
        raise ValueError("mlp needs at least one width, that of the output")
    *hidden, outputs = widths
    layers: list[Layer | Activation] = [Flatten()]
    for width in hidden:
        layers += [Dense(width, kernel_init=he_normal), activation]
        layers += [Dropout(dropout)] if dropout else []
    return Sequential(*layers, Dense(outputs))


def lenet(classes: int = 10, activation: Activation = relu) -> Sequential:
    """Make LeNet-5 for 28x28 images, with max-pooling and, by default, ReLU.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".

    Args:
        classes: The number of logits.
        activation: The function after every layer but the last.

    Example:
        >>> model = fnn.models.lenet()
        >>> fnn.summary(model, jax.ShapeDtypeStruct((28, 28, 1), "float32")).parameters
        61706
    """
    conv = functools.partial(Conv, kernel_init=he_normal)
    dense = functools.partial(Dense, kernel_init=he_normal)
    return Sequential(
        conv(6, (5, 5), padding=2),
        activation,
        MaxPool((2, 2)),
        conv(16, (5, 5)),
        activation,
        MaxPool((2, 2)),
        Flatten(),
        dense(120),
        activation,
        dense(84),
        activation,
        Dense(classes),
    )


def vgg_small(classes: int = 10, width: int = 32, dropout: float = 0.5) -> Sequential:
    """Make a small VGG-like network: pairs of 3x3 convolutions, then pooling.

    Three stages of `width`, 2 `width` and 4 `width` features, for 32x32 images.

    Source: Simonyan & Zisserman 2015, "Very deep convolutional networks".

    Args:
        classes: The number of logits.
        width: The number of features in the first stage.
        dropout: The rate of dropout before the last layer.

    Example:
        >>> model = fnn.models.vgg_small()
        >>> fnn.summary(model, jax.ShapeDtypeStruct((32, 32, 3), "float32")).rows[-1].output
        'float32[10]'
    """

    def stage(features: int) -> list[Layer | Activation]:
        conv = Conv(features, (3, 3), padding=1, kernel_init=he_normal)
        return [conv, relu, conv, relu, MaxPool((2, 2))]

    return Sequential(
        *stage(width),
        *stage(2 * width),
        *stage(4 * width),
        Flatten(),
        Dense(4 * width, kernel_init=he_normal),
        relu,
        Dropout(dropout),
        Dense(classes),
    )


class PaddedShortcut(Layer):
    """Drop every second row and column, and pad the features with zeros.

    The shortcut without parameters of a residual network (option A of the source).

    Source: He et al. 2016, "Deep residual learning for image recognition".

    Args:
        features: Number of output features.
        stride: 2 drops every second row and column, 1 keeps all.

    Example:
        >>> shortcut = fnn.models.PaddedShortcut(32, 2)
        >>> shortcut({}, jax.numpy.ones((8, 8, 16))).shape
        (4, 4, 32)
    """

    features: int
    stride: int = 1

    def forward(self, params: Params, x: Array) -> Array:
        x = x[:: self.stride, :: self.stride]
        missing = self.features - x.shape[-1]
        return jnp.pad(x, ((0, 0), (0, 0), (missing // 2, missing - missing // 2)))


def resnet_cifar(
    depth: int,
    classes: int = 10,
    *,
    residual: bool = True,
    shortcut: Literal["projection", "padded"] = "projection",
    norm: Literal["batch", "group"] = "batch",
    stochastic_depth: float = 0.0,
) -> Sequential:
    """Make the residual network for CIFAR: 3 stages of (depth - 2) / 6 blocks.

    A block is y = relu(x + norm(conv(relu(norm(conv(x)))))), with 16, 32 and 64 features in
    the stages and a stride of 2 between them.

    Source: He et al. 2016, "Deep residual learning for image recognition"; Huang et al.
    2016, "Deep networks with stochastic depth".

    Args:
        depth: 20, 32, 44, 56, 110: the number of layers with weights.
        classes: The number of logits.
        residual: Whether blocks have shortcuts. Without them it is the plain network that
            the source compares with.
        shortcut: The shortcut where the shape changes: `"projection"` is a 1x1 convolution
            and a norm; `"padded"` drops pixels and pads features, without parameters.
        norm: `"batch"`, or `"group"` (of up to 8 groups), for which per-example gradients
            exist.
        stochastic_depth: The rate of dropping the last block; the rates of
            earlier blocks are proportional to their depth.

    Raises:
        ValueError: If the depth is not 6 n + 2, or an option is invalid.

    Example:
        >>> model = fnn.models.resnet_cifar(20, shortcut="padded")
        >>> fnn.summary(model, jax.ShapeDtypeStruct((32, 32, 3), "float32")).parameters
        269722
    """
    checks.one_of("shortcut", shortcut, ("projection", "padded"))
    checks.one_of("norm", norm, ("batch", "group"))
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6 n + 2, such as 20, 32, 44 or 56, got {depth}")
    if stochastic_depth and not residual:
        raise ValueError("stochastic_depth needs residual=True: it drops residual branches")
    n = (depth - 2) // 6
    make_norm = BatchNorm if norm == "batch" else functools.partial(GroupNorm, 8)
    conv = functools.partial(Conv, bias=False, kernel_init=he_normal)

    def block(index: int) -> list[Layer | Activation]:
        stage, first = divmod(index, n)
        features, stride = 16 * 2**stage, 2 if stage and not first else 1
        branch: list[Layer | Activation] = [
            conv(features, (3, 3), stride=stride, padding=1),
            make_norm(),
            relu,
            conv(features, (3, 3), padding=1),
            make_norm(),
        ]
        if not residual:
            return [*branch, relu]
        if stochastic_depth:
            branch.append(StochasticDepth(stochastic_depth * (index + 1) / (3 * n)))
        if stride == 1:
            return [Residual(Sequential(*branch)), relu]
        around: Layer = PaddedShortcut(features, stride)
        if shortcut == "projection":
            around = Sequential(conv(features, (1, 1), stride=stride), make_norm())
        return [Residual(Sequential(*branch), shortcut=around), relu]

    blocks = [layer for index in range(3 * n) for layer in block(index)]
    stem = [conv(16, (3, 3), padding=1), make_norm(), relu]
    return Sequential(*stem, *blocks, GlobalPool("mean"), Dense(classes))


def autoencoder(
    *widths: int,
    inputs: int,
    activation: Activation = relu,
    output_activation: Activation = sigmoid,
) -> Sequential:
    """Make an autoencoder: layers that narrow to a code and widen again.

    Args:
        *widths: The widths of the encoder's layers; the last is that of the code. The
            decoder has the others in reverse.
        inputs: The number of elements of an example. The output has the same number, in one
            axis.
        activation: The function after each layer but the code and the last.
        output_activation: The function at the end, for the range of the data: the sigmoid
            for images from 0 to 1, `jax.numpy.tanh` for data from -1 to 1.

    Raises:
        ValueError: If `widths` is empty.

    Example:
        >>> model = fnn.models.autoencoder(128, 32, inputs=784)
        >>> fnn.summary(model, jax.ShapeDtypeStruct((28, 28, 1), "float32")).rows[-1].output
        'float32[784]'
    """
    if not widths:
        raise ValueError("autoencoder needs at least one width, that of the code")
    encoder = mlp(*widths, activation=activation)
    decoder = mlp(*reversed(widths[:-1]), inputs, activation=activation)
    return Sequential(encoder=encoder, decoder=decoder, output=output_activation)


_explain_missing(__name__)
