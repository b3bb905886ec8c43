"""The networks in PyTorch, and the first steps of them."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.suite import Program
from benchmarks.training import networks

CUDA = torch.cuda.is_available()


def mlp(*widths: int) -> list[nn.Module]:
    """Return dense layers, with ReLU between them."""
    pairs = itertools.pairwise(widths)
    return [m for pair in pairs for m in (nn.Linear(*pair), nn.ReLU())][:-1]


def normed(size: int, inputs: int, features: int, stride: int) -> list[nn.Module]:
    """Return a convolution and a batch norm."""
    conv = nn.Conv2d(inputs, features, size, stride, size // 2, bias=False)
    return [conv, nn.BatchNorm2d(features, networks.EPS)]


class Residual(nn.Module):
    """A residual block."""

    def __init__(self, block: networks.Block) -> None:
        super().__init__()
        parts = [(*normed(*sizes), nn.ReLU()) for sizes in block.convolutions]
        self.branch = nn.Sequential(*itertools.chain(*parts))[:-1]
        sizes = (1, block.inputs, block.outputs, block.stride)
        around = nn.Sequential(*normed(*sizes)) if block.projects else nn.Identity()
        self.shortcut = around

    def forward(self, x: Any) -> Any:
        return functional.relu(self.branch(x) + self.shortcut(x))


def resnet(name: str) -> nn.Sequential:
    """Return ResNet-20 or ResNet-50."""
    if name == "resnet50":
        stem = [*normed(7, 3, 64, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    else:
        stem = [*normed(3, 3, 16, 1), nn.ReLU()]
    blocks = list(networks.blocks(name))
    head = nn.Linear(blocks[-1].outputs, networks.CLASSES.get(name, 10))
    middle = [Residual(block) for block in blocks]
    return nn.Sequential(*stem, *middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def network(name: str) -> nn.Sequential:
    """Return the network of a name."""

    def conv(*sizes: int, padding: int) -> list[nn.Module]:
        return [nn.Conv2d(*sizes, padding=padding), nn.ReLU(), nn.MaxPool2d(2)]

    match name:
        case "lenet":
            images = conv(1, 6, 5, padding=2) + conv(6, 16, 5, padding=0)
            return nn.Sequential(*images, nn.Flatten(), *mlp(400, 120, 84, 10))
        case "cnn":
            images = conv(1, 32, 3, padding=1) + conv(32, 64, 3, padding=1)
            return nn.Sequential(*images, nn.Flatten(), *mlp(3136, 128, 10))
        case "resnet20" | "resnet50":
            return resnet(name)
    return nn.Sequential(*mlp(*networks.WIDTHS[name]))


def initial(name: str) -> nn.Sequential:
    """Return a network with the weights that all rivals begin with, channels last."""
    model = network(name)
    arrays = networks.outputs_first(name)
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(array))
    model = model.cuda() if CUDA else model
    return model.to(memory_format=torch.channels_last)


def batch(case: networks.Case) -> tuple[Any, Any]:
    """Return inputs, with channels last in memory, and targets, on the device."""
    x, y = (torch.from_numpy(array) for array in networks.batch(case))
    y = y if case.network == "autoencoder" else y.long()
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x  # the strides of channels last
    return (x.cuda(), y.cuda()) if CUDA else (x, y)


def program(name: str, compiles: Callable[[Any], Any] | None = None) -> Program:
    """Return the step of a case, whose network is compiled by a function."""
    torch.set_flush_denormal(True)  # as XLA does
    case = networks.Case.parse(name)
    model, (x, y) = initial(case.network), batch(case)
    adam = torch.optim.Adam(model.parameters(), networks.RATE, fused=True)
    forward = compiles(model) if compiles else model
    device = "cuda" if CUDA else "cpu"
    autocast = functools.partial(torch.autocast, device, torch.bfloat16, case.bfloat16)

    def step() -> Any:
        adam.zero_grad()
        with autocast():
            output = forward(x)
        if case.network == "autoencoder":
            loss = (output.float() - y).square().sum(1).mean()
        else:
            loss = functional.cross_entropy(output.float(), y)
        loss.backward()
        adam.step()
        return loss

    def run() -> None:
        step()
        if CUDA:
            torch.cuda.synchronize()

    exact(True)
    losses = [step().item() for _ in range(networks.STEPS)]
    exact(False)
    return Program(run, *networks.shown(case, losses))


def exact(on: bool) -> None:
    """Let a GPU multiply float32 in all bits, or in those of TF32, as JAX does."""
    torch.set_float32_matmul_precision("highest" if on else "high")
    torch.backends.cudnn.allow_tf32 = not on
