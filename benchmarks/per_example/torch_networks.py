"""The same networks in PyTorch, of layers that Opacus knows."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from opacus.layers import DPGRU, DPRNN
from torch import nn
from torch.nn import functional


class TorchProblem(NamedTuple):
    """A network for the ordinary step, one for Opacus, and inputs and labels."""

    network: nn.Module
    private: nn.Module
    batch: tuple[Any, Any]


def classifier(
    make: Callable[[], nn.Module], shape: tuple[int, ...], count: int
) -> TorchProblem:
    """Return the problem of a network on `count` random images of 10 classes."""
    batch = torch.randn(count, *shape), torch.randint(10, (count,))
    return TorchProblem(make(), make(), batch)


def mlp() -> TorchProblem:
    """784-512-512-10, batch 256."""

    def make() -> nn.Module:
        layers = nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()
        return nn.Sequential(*layers, nn.Linear(512, 10))

    return classifier(make, (784,), 256)


def lenet() -> TorchProblem:
    """LeNet-5, 28x28, batch 128."""

    def make() -> nn.Module:
        first = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
        second = nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        head = nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()
        return nn.Sequential(*first, *second, nn.Flatten(), *head, nn.Linear(84, 10))

    return classifier(make, (1, 28, 28), 128)


def cnn() -> TorchProblem:
    """Convolutions of 32 and 64 features, 28x28, batch 128."""

    def make() -> nn.Module:
        first = nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        second = nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        head = nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10)
        return nn.Sequential(*first, *second, nn.Flatten(), *head)

    return classifier(make, (1, 28, 28), 128)


class Residual(nn.Module):
    """A block of a residual network with group norm."""

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        conv = functools.partial(nn.Conv2d, bias=False)
        self.branch = nn.Sequential(
            conv(inputs, features, 3, stride, 1),
            nn.GroupNorm(8, features),
            nn.ReLU(),
            conv(features, features, 3, 1, 1),
            nn.GroupNorm(8, features),
        )
        self.around: nn.Module = nn.Identity()
        if stride == 2:
            projection = conv(inputs, features, 1, stride)
            self.around = nn.Sequential(projection, nn.GroupNorm(8, features))

    def forward(self, x: Any) -> Any:
        """Return relu(around(x) + branch(x))."""
        return functional.relu(self.around(x) + self.branch(x))


def resnet20() -> TorchProblem:
    """ResNet-20 with group norm, 32x32, batch 64."""

    def make() -> nn.Module:
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        pairs = itertools.pairwise(widths)
        blocks = [Residual(a, b, 1 if a == b else 2) for a, b in pairs]
        stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU()
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
        return nn.Sequential(*stem, *blocks, *head)

    return classifier(make, (3, 32, 32), 64)


class Block(nn.Module):
    """A block of a transformer, with causal attention."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Any) -> Any:
        """Return x plus attention, plus what two dense layers make of it."""
        count, length, d = x.shape
        qkv = self.qkv(self.norms[0](x)).view(count, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(count, length, d))
        hidden = functional.gelu(self.up(self.norms[1](x)), approximate="tanh")
        return x + self.down(hidden)


class Transformer(nn.Module):
    """4 blocks, d = 256, 8 heads, T = 128, 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(64, 256), nn.Embedding(128, 256)
        self.blocks = nn.Sequential(*(Block(256, 8) for _ in range(4)))
        self.head = nn.Linear(256, 64)

    def forward(self, ids: Any) -> Any:
        """Return the logits of each position."""
        places = torch.arange(ids.shape[1]).repeat(len(ids), 1)
        x = self.blocks(self.tokens(ids) + self.places(places))
        return self.head(x)


def transformer() -> TorchProblem:
    """Batch 16."""
    ids = torch.randint(64, (2, 16, 128))
    return TorchProblem(Transformer(), Transformer(), (ids[0], ids[1]))


class Bag(nn.Module):
    """The mean of vectors of length 64, out of 50,000, into 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50_000, 64), nn.Linear(64, 10, bias=False)

    def forward(self, ids: Any) -> Any:
        """Return the logits."""
        return self.head(self.table(ids).mean(1))


def embedding() -> TorchProblem:
    """Batch 128 of 64 ids."""
    batch = torch.randint(50_000, (128, 64)), torch.randint(10, (128,))
    return TorchProblem(Bag(), Bag(), batch)


class Recurrent(nn.Module):
    """128 units over the steps of a sequence of 32 inputs, into 10 classes."""

    def __init__(self, cell: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cell = cell(32, 128, bias=False, batch_first=True)
        self.head = nn.Linear(128, 10, bias=False)

    def forward(self, x: Any) -> Any:
        """Return the logits, of the last step."""
        return self.head(self.cell(x)[0][:, -1])


def rnn() -> TorchProblem:
    """tanh, 64 steps, batch 64."""
    batch = torch.randn(64, 64, 32), torch.randint(10, (64,))
    return TorchProblem(Recurrent(nn.RNN), Recurrent(DPRNN), batch)


def gru() -> TorchProblem:
    """Gated, 64 steps, batch 64."""
    batch = torch.randn(64, 64, 32), torch.randint(10, (64,))
    return TorchProblem(Recurrent(nn.GRU), Recurrent(DPGRU), batch)


NETWORKS: dict[str, Callable[[], TorchProblem]] = {
    "mlp": mlp,
    "lenet": lenet,
    "cnn": cnn,
    "resnet20": resnet20,
    "transformer": transformer,
    "embedding": embedding,
    "rnn": rnn,
    "gru": gru,
}
