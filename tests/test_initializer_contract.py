"""What every initializer promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import over
from contracts.initializers import INITIALIZERS


def key(seed=0):
    return jax.random.key(seed)


@over(INITIALIZERS)
def test_initializer_draws_its_mean_and_variance(row):
    make, draws = row.make(), []
    for k in jax.random.split(key(7), 20):
        draws.append(np.asarray(make(k, row.shape, jnp.float32), np.float64))
    draws = np.concatenate([draw.ravel() for draw in draws])
    # Five standard errors: the variance's is at most var sqrt(2 / n) for these draws.
    n = draws.size
    assert abs(draws.mean() - row.mean) <= 5 * np.sqrt(row.variance / n) + 1e-7
    assert abs(draws.var() - row.variance) <= 5 * row.variance * np.sqrt(2 / n) + 1e-12


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(INITIALIZERS)
def test_initializer_has_the_dtype_and_follows_the_key(row, dtype):
    initializer = row.make()
    draw = initializer(key(8), row.shape, dtype)
    assert (draw.shape, draw.dtype.name) == (row.shape, dtype)
    jitted = jax.jit(lambda k: initializer(k, row.shape, dtype))(key(8))
    tolerance = float(jnp.finfo(dtype).eps) * 8
    chex.assert_trees_all_close(jitted, draw, rtol=tolerance, atol=tolerance)
    other = initializer(key(9), row.shape, dtype)
    assert bool((other == draw).all()) == (row.variance == 0)
