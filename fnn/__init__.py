"""fnn: a functional neural-network library for JAX.

Models are values with two pure functions, `init` and `apply`, over nested dicts of arrays;
losses and optimizers are pure functions too, and gradients come from `jax.grad`.
"""

# A module is imported when it is first used; `__init__.pyi` says what there is, and where.

import ast
import importlib
import pathlib
from typing import Any

__version__ = "0.1.0"

_ORIGINS = {
    alias.name: node.module
    for node in ast.parse(pathlib.Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}


def __getattr__(name: str) -> Any:
    if name not in _ORIGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    origin = _ORIGINS[name]
    if origin == __name__:
        return importlib.import_module(f"{origin}.{name}")
    thing = globals()[name] = getattr(importlib.import_module(origin), name)
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *_ORIGINS})
