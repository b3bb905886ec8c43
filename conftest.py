"""What the examples in docstrings may use without importing it."""

import sys
from collections.abc import Iterator

import jax
import pytest

import fnn


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    doctest_namespace["fnn"] = fnn
    doctest_namespace["jax"] = jax


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
