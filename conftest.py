"""What the examples in docstrings may use without importing it."""

import jax
import pytest

import fnn


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    doctest_namespace["fnn"] = fnn
    doctest_namespace["jax"] = jax
