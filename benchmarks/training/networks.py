"""What all rivals load: networks in numbers, initial weights and data, made by NumPy.

Weights are a list of arrays in the order of the layers: of a dense layer or a convolution
the kernel, (in, out) or (height, width, in, out), and the bias where there is one; of a
batch norm the scale and the shift. In a residual block, the shortcut comes last.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Weights = list[np.ndarray[Any, Any]]
EPS = 1e-5  # of all batch norms
RATE = 1e-3  # of Adam
STEPS = 3  # whose losses are the proof
CHAOTIC = {"resnet50"}  # where losses are the same after the first step by chance only

WIDTHS = {
    "mlp-small": (784, 128, 10),
    "mlp-large": (784, 512, 512, 10),
    "autoencoder": (784, 256, 64, 256, 784),
}
SHAPES = {
    "lenet": (28, 28, 1),
    "cnn": (28, 28, 1),
    "resnet20": (32, 32, 3),
    "resnet50": (224, 224, 3),
}
CLASSES = {"resnet50": 1000}  # others have 10
FLATTENED = {"lenet": (5, 5, 16), "cnn": (7, 7, 64)}  # before the first dense layer


class Case(NamedTuple):
    """A network, its batch, and whether it computes in bfloat16."""

    network: str
    batch: int
    bfloat16: bool

    @classmethod
    def parse(cls, name: str) -> "Case":
        """Read the name of a case, such as "lenet, batch 128, bfloat16"."""
        network, batch, *rest = name.split(", ")
        return cls(network, int(batch.removeprefix("batch ")), rest == ["bfloat16"])


class Block(NamedTuple):
    """A residual block; it projects its input where the shape changes.

    A bottleneck has `features` in between, and four times as many come out.
    """

    inputs: int
    features: int
    stride: int
    bottleneck: bool

    @property
    def outputs(self) -> int:
        """How many features come out."""
        return 4 * self.features if self.bottleneck else self.features

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a convolution and a norm."""
        return self.inputs != self.outputs

    @property
    def convolutions(self) -> list[tuple[int, int, int, int]]:
        """(size, inputs, features, stride) of each convolution of the branch."""
        inner = self.features
        if not self.bottleneck:
            return [(3, self.inputs, inner, self.stride), (3, inner, inner, 1)]
        return [
            (1, self.inputs, inner, 1),
            (3, inner, inner, self.stride),
            (1, inner, self.outputs, 1),
        ]


def blocks(network: str) -> Iterator[Block]:
    """Yield the blocks of a residual network, "resnet20" or "resnet50"."""
    deep = network == "resnet50"
    width, depths = (64, (3, 4, 6, 3)) if deep else (16, (3, 3, 3))
    inputs = width
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            block = Block(inputs, width * 2**stage, stride, deep)
            yield block
            inputs = block.outputs


def weights(network: str) -> Weights:
    """Return the initial weights: kernels of He, biases and shifts 0, scales 1."""
    rng = np.random.default_rng(0)

    def kernel(*shape: int) -> np.ndarray[Any, Any]:
        deviation = np.sqrt(2 / np.prod(shape[:-1]))
        return rng.normal(0, deviation, shape).astype(np.float32)

    def constant(value: float, size: int) -> np.ndarray[Any, Any]:
        return np.full(size, value, np.float32)

    def dense(inputs: int, outputs: int) -> Weights:
        return [kernel(inputs, outputs), constant(0, outputs)]

    def conv(size: int, inputs: int, features: int) -> Weights:
        return [kernel(size, size, inputs, features), constant(0, features)]

    def normed(size: int, inputs: int, features: int) -> Weights:
        scale, shift = constant(1, features), constant(0, features)
        return [kernel(size, size, inputs, features), scale, shift]

    def residual(block: Block) -> Weights:
        branch = [w for s, i, o, _ in block.convolutions for w in normed(s, i, o)]
        around = normed(1, block.inputs, block.outputs) if block.projects else []
        return branch + around

    match network:
        case "lenet":
            convs = conv(5, 1, 6) + conv(5, 6, 16)
            return convs + dense(400, 120) + dense(120, 84) + dense(84, 10)
        case "cnn":
            return conv(3, 1, 32) + conv(3, 32, 64) + dense(3136, 128) + dense(128, 10)
        case "resnet20" | "resnet50":
            stem = normed(7, 3, 64) if network == "resnet50" else normed(3, 3, 16)
            middle = [w for block in blocks(network) for w in residual(block)]
            *_, last = blocks(network)
            return stem + middle + dense(last.outputs, CLASSES.get(network, 10))
    sizes = WIDTHS[network]
    pairs = itertools.pairwise(sizes)
    return [w for inputs, outputs in pairs for w in dense(inputs, outputs)]


def batch(case: Case) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return inputs, with channels last, and targets: labels, or of autoencoders inputs."""
    rng = np.random.default_rng(1)
    shape = SHAPES.get(case.network, (784,))
    x = rng.normal(size=(case.batch, *shape)).astype(np.float32)
    if case.network == "autoencoder":
        return x, x
    labels = rng.integers(0, CLASSES.get(case.network, 10), case.batch)
    return x, labels.astype(np.int32)


def shown(case: Case, losses: list[float]) -> tuple[dict[str, float], list[float]]:
    """Return a figure and a proof of the losses of the first steps.

    Where rounding makes losses differ, the third one is shown instead.
    """
    if case.bfloat16:
        return {"third loss": losses[-1]}, []
    if case.network in CHAOTIC:
        return {"third loss": losses[-1]}, losses[:1]
    return {}, losses


def outputs_first(network: str) -> Weights:
    """Return the weights for a framework that has channels first.

    Kernels are (out, in) or (out, in, height, width), and the first dense layer reads an
    image that was flattened with its channels first.
    """
    arrays = weights(network)
    if network in FLATTENED:
        first = next(i for i, array in enumerate(arrays) if array.ndim == 2)
        images = arrays[first].reshape(*FLATTENED[network], -1)
        arrays[first] = images.transpose(2, 0, 1, 3).reshape(arrays[first].shape)
    axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
    return [np.ascontiguousarray(a.transpose(axes[a.ndim])) for a in arrays]
