"""The same networks in PyTorch, of layers that Opacus knows, with the same weights.

Modules are called as fnn's layers are, so that a parameter's path is known by its name.
"""

import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from opacus.layers import DPGRU, DPRNN
from torch import nn
from torch.nn import functional

from benchmarks.per_example import draws

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KINDS = {nn.Conv2d: "conv", nn.GroupNorm: "group_norm", nn.Linear: "dense"}
CELLS = {
    "cell.weight_ih_l0": "input/kernel",
    "cell.weight_hh_l0": "recurrent/kernel",
    "cell.l0.ih.weight": "input/kernel",
    "cell.l0.hh.weight": "recurrent/kernel",
}


class TorchProblem(NamedTuple):
    """A network, inputs and labels."""

    network: nn.Module
    batch: tuple[Any, Any]


def stack(*modules: nn.Module) -> nn.Sequential:
    """Return modules in sequence, named by their kinds and counted."""
    counts: Counter[str] = Counter()
    named = OrderedDict()
    for module in modules:
        kind = KINDS.get(type(module), type(module).__name__.lower())
        named[f"{kind}_{counts[kind]}"] = module
        counts[kind] += 1
    return nn.Sequential(named)


def path_of(name: str, modules: Mapping[str, nn.Module]) -> str:
    """Return fnn's path of a parameter."""
    if name in CELLS:
        return CELLS[name]
    owner, _, kind = name.rpartition(".")
    path = owner.replace(".", "/")
    match modules[owner]:
        case nn.Embedding():
            return path
        case nn.GroupNorm() | nn.LayerNorm():
            return f"{path}/{'scale' if kind == 'weight' else 'shift'}"
        case _:
            return f"{path}/{'kernel' if kind == 'weight' else 'bias'}"


def load(network: nn.Module, flattened: tuple[int, ...] = ()) -> nn.Module:
    """Give a network the weights that are drawn for it.

    What is flattened before the first dense layer, of shape (height, width, channels), has
    its channels first in PyTorch.
    """
    modules = dict(network.named_modules())
    for name, parameter in network.named_parameters():
        path, shape = path_of(name, modules), tuple(parameter.shape)
        if path.endswith("kernel"):
            shape = (*shape[2:], shape[1], shape[0])
        drawn = draws.weights(path, shape)
        if flattened and path == "dense_0/kernel":
            drawn = np.moveaxis(drawn.reshape(*flattened, -1), 2, 0).reshape(shape)
        if path.endswith("kernel"):
            drawn = np.moveaxis(drawn, (-1, -2), (0, 1))
        parameter.data = torch.from_numpy(np.ascontiguousarray(drawn))
    return network


def labelled(network: nn.Module, inputs: Any) -> TorchProblem:
    """Return the problem of a network on inputs with labels of 10 classes."""
    labels = draws.integers("labels", draws.CLASSES, len(inputs))
    batch = torch.from_numpy(inputs).to(DEVICE), torch.from_numpy(labels).long().to(DEVICE)
    return TorchProblem(network.to(DEVICE), batch)


def on_images(
    network: nn.Module, count: int, shape: tuple[int, ...], private: bool
) -> TorchProblem:
    """Return the problem of a network on images.

    Their channels are last in memory, as PyTorch recommends, but first for Opacus, whose
    gradients of convolutions are wrong otherwise.
    """
    order = torch.contiguous_format if private else torch.channels_last
    images = np.moveaxis(draws.normal(count, *shape), -1, 1).copy()
    given = labelled(network.to(memory_format=order), images)
    inputs = given.batch[0].contiguous(memory_format=order)
    return TorchProblem(given.network, (inputs, given.batch[1]))


def mlp(count: int, _: bool) -> TorchProblem:
    """784-512-512-10."""
    layers = nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()
    network = stack(*layers, nn.Linear(512, 10))
    return labelled(load(network), draws.normal(count, 784))


def lenet(count: int, private: bool) -> TorchProblem:
    """LeNet-5, 28x28."""
    first = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
    head = nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()
    network = stack(*first, *second, nn.Flatten(), *head, nn.Linear(84, 10))
    return on_images(load(network, (5, 5, 16)), count, (28, 28, 1), private)


def cnn(count: int, private: bool) -> TorchProblem:
    """Convolutions of 32 and 64 features, 28x28."""
    first = nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    head = nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10)
    network = stack(*first, *second, nn.Flatten(), *head)
    return on_images(load(network, (7, 7, 64)), count, (28, 28, 1), private)


class Residual(nn.Module):
    """A block of a residual network with group norm."""

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        self.branch = stack(
            nn.Conv2d(inputs, features, 3, stride, 1, bias=False),
            nn.GroupNorm(8, features),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, 1, 1, bias=False),
            nn.GroupNorm(8, features),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            projection = nn.Conv2d(inputs, features, 1, stride, bias=False)
            self.shortcut = stack(projection, nn.GroupNorm(8, features))

    def forward(self, x: Any) -> Any:
        """Return relu(shortcut(x) + branch(x))."""
        return functional.relu(self.shortcut(x) + self.branch(x))


def resnet20(count: int, private: bool) -> TorchProblem:
    """ResNet-20 with group norm, 32x32."""
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Residual(a, b, 1 if a == b else 2) for a, b in itertools.pairwise(widths)]
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return on_images(load(stack(*stem, *blocks, *head)), count, (32, 32, 3), private)


class Block(nn.Module):
    """A block of a transformer, with causal attention."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_0, self.norm_1 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Any) -> Any:
        """Return x plus attention, plus what two dense layers make of it."""
        count, length, d = x.shape
        qkv = self.qkv(self.norm_0(x)).view(count, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(count, length, d))
        hidden = functional.gelu(self.up(self.norm_1(x)), approximate="tanh")
        return x + self.down(hidden)


class LanguageModel(nn.Module):
    """Tables of tokens and places, blocks, and a head."""

    def __init__(self, d: int, heads: int, blocks: int, length: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(tokens, d), nn.Embedding(length, d)
        named = {f"block_{i}": Block(d, heads) for i in range(blocks)}
        self.blocks = nn.Sequential(OrderedDict(named))
        self.head = nn.Linear(d, tokens)

    def forward(self, ids: Any) -> Any:
        """Return the logits of each position."""
        places = torch.arange(ids.shape[1], device=ids.device).repeat(len(ids), 1)
        return self.head(self.blocks(self.tokens(ids) + self.places(places)))


def language_model(count: int, *sizes: int) -> TorchProblem:
    """Return the problem of a model of d, heads, blocks, length and tokens."""
    network = load(LanguageModel(*sizes)).to(DEVICE)
    drawn = draws.integers("ids", sizes[4], 2, count, sizes[3])
    ids = torch.from_numpy(drawn).long().to(DEVICE)
    return TorchProblem(network, (ids[0], ids[1]))


def transformer(count: int, _: bool) -> TorchProblem:
    """4 blocks, d = 256, 8 heads, T = 128, 64 tokens."""
    return language_model(count, 256, 8, 4, 128, 64)


def gpt2(count: int, _: bool) -> TorchProblem:
    """12 blocks, d = 768, 12 heads, T = 512, 25,600 tokens: 125 million weights."""
    return language_model(count, 768, 12, 12, 512, 25_600)


class Bag(nn.Module):
    """The mean of vectors of length 64, out of 50,000, into 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50_000, 64), nn.Linear(64, 10, bias=False)

    def forward(self, ids: Any) -> Any:
        """Return the logits."""
        return self.head(self.table(ids).mean(1))


def embedding(count: int, _: bool) -> TorchProblem:
    """Of 64 ids each."""
    return labelled(load(Bag()), draws.integers("ids", 50_000, count, 64))


class Recurrent(nn.Module):
    """128 units over the steps of a sequence of 32 inputs, into 10 classes."""

    def __init__(self, cell: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cell = cell(32, 128, bias=False, batch_first=True)
        self.head = nn.Linear(128, 10, bias=False)

    def forward(self, x: Any) -> Any:
        """Return the logits, of the last step."""
        return self.head(self.cell(x)[0][:, -1])


def rnn(count: int, private: bool) -> TorchProblem:
    """tanh, 64 steps."""
    network = load(Recurrent(DPRNN if private else nn.RNN))
    return labelled(network, draws.normal(count, 64, 32))


def gru(count: int, private: bool) -> TorchProblem:
    """Gated, 64 steps."""
    network = load(Recurrent(DPGRU if private else nn.GRU))
    return labelled(network, draws.normal(count, 64, 32))


NETWORKS: dict[str, Callable[[int, bool], TorchProblem]] = {
    "mlp": mlp,
    "lenet": lenet,
    "cnn": cnn,
    "resnet20": resnet20,
    "transformer": transformer,
    "gpt2": gpt2,
    "embedding": embedding,
    "rnn": rnn,
    "gru": gru,
}
