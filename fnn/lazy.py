"""Packages that import a module when something of it is first used.

Scientific Python's SPEC 1: what a package has is imported in its `__init__.pyi`, which type
checkers and editors read, and which this module follows.
"""

import ast
import importlib.util
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
        for node in ast.parse(
            Path(file).with_suffix(".pyi").read_text(encoding="utf-8")
        ).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    names = vars(sys.modules[package])

    refuse = _refusing(package)

    def getattribute(name: str) -> Any:
        if name not in origins:
            return refuse(name)
        if origins[name] == package:
            return importlib.import_module(f"{package}.{name}")
        names[name] = getattr(importlib.import_module(origins[name]), name)
        return names[name]

    return getattribute, lambda: sorted({*names, *origins})


def explain_missing(module: str) -> None:
    """Let a module say which name is meant by one that it does not have.

    Its `__getattr__` is set from here, because type checkers take any name of a module
    that is seen to define one.

    Args:
        module: The module's `__name__`.
    """
    vars(sys.modules[module])["__getattr__"] = _refusing(module)


def _refusing(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, which raises and says which name is meant."""

    def refuse(name: str) -> Any:
        message = f"module {module!r} has no attribute {name!r}"
        caller = sys._getframe(1)
        while caller.f_code.co_filename == __file__ and caller.f_back:
            caller = caller.f_back
        # `from fnn import thing` asks for the name first, and then for a module of that
        # name. It drops an AttributeError with what it says, but no ImportError.
        importing = caller.f_code.co_name == "_handle_fromlist"
        later = importing and importlib.util.find_spec(f"{module}.{name}")
        if not later and not name.startswith("_"):
            from fnn.suggestions import hint

            message += hint(module, name)
        if importing and not later:
            raise ImportError(message, name=module)
        # Without `obj`, Python adds no suggestion of its own.
        raise AttributeError(message, name=name)

    return refuse
