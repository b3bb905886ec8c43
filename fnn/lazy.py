"""Packages that import a module when something of it is first used.

Scientific Python's SPEC 1: what a package has is imported in its `__init__.pyi`, which type
checkers and editors read, and which this module follows.
"""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package, as its `__init__.pyi` says.

    Args:
        package: The package's `__name__`.
        file: Its `__file__`.
    """
    origins = {
        alias.name: node.module
        for node in ast.parse(Path(file).with_suffix(".pyi").read_text()).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    names = vars(sys.modules[package])

    def getattribute(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if origins[name] == package:
            return importlib.import_module(f"{package}.{name}")
        names[name] = getattr(importlib.import_module(origins[name]), name)
        return names[name]

    return getattribute, lambda: sorted({*names, *origins})
