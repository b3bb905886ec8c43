"""The results that BackPACK's extensions attach to parameters of known layers."""

from typing import Any

from backpack import extend
from torch import nn

from benchmarks.suite import RefusedError


def extended(network: nn.Module) -> Any:
    """Return a network for BackPACK; refuse recurrent layers that it fails on."""
    layers = [layer for layer in network.modules() if type(layer) is nn.RNN]
    if not all(layer.bias for layer in layers):
        raise RefusedError("has a rule for RNN with biases alone")
    return extend(network)


def saved(network: nn.Module, field: str) -> list[Any]:
    """Return what an extension has saved with each parameter, or refuse the network."""
    missing = {
        type(layer).__name__
        for layer in network.modules()
        for parameter in layer.parameters(recurse=False)
        if not hasattr(parameter, field)
    }
    if missing:
        raise RefusedError(f"has no rule for {', '.join(sorted(missing))}")
    return [getattr(parameter, field) for parameter in network.parameters()]
