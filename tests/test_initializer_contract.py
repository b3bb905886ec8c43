"""The promises of every initializer."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key, over
from contracts.initializers import INITIALIZERS

import fnn
from fnn import initializers


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def drawn(initializer, key, shape, dtype):
    return initializer(key, shape, dtype)


@over(INITIALIZERS)
def test_initializer_draws_its_mean_and_variance(row):
    keys = jax.random.split(key(7), 20)
    draws = [drawn(row.make(), k, row.shape, "float32") for k in keys]
    draws = np.array(draws, np.float64)
    # Five standard errors: the variance's is at most var sqrt(2 / n) for these draws.
    n = draws.size
    assert abs(draws.mean() - row.mean) <= 5 * np.sqrt(row.variance / n) + 1e-7
    assert abs(draws.var() - row.variance) <= 5 * row.variance * np.sqrt(2 / n) + 1e-12


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(INITIALIZERS)
def test_initializer_has_the_dtype_and_follows_the_key(row, dtype):
    draw = drawn(row.make(), key(8), row.shape, dtype)
    assert (draw.shape, draw.dtype.name) == (row.shape, dtype)
    other = drawn(row.make(), key(9), row.shape, dtype)
    assert np.array_equal(other, draw) == (row.variance == 0)


@over(INITIALIZERS)
def test_initializer_is_the_same_under_jit(row):
    draw = row.make()(key(8), row.shape, jnp.float32)
    jitted = drawn(row.make(), key(8), row.shape, "float32")
    chex.assert_trees_all_close(jitted, draw, rtol=1e-6, atol=1e-6)


def test_every_public_initializer_has_a_row():
    named = [name.split(",")[0] for name in INITIALIZERS]
    for name, thing in vars(initializers).items():
        defined = getattr(thing, "__module__", "") == "fnn.initializers"
        if isinstance(thing, fnn.Value) or (isinstance(thing, type) and defined):
            assert name in named
