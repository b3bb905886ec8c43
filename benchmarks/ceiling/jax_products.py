"""Products of matrices by XLA."""

import jax
import jax.numpy as jnp

from benchmarks.ceiling import CHAIN, parse
from benchmarks.ceiling.matrices import matrices
from benchmarks.suite import Program


@jax.jit
def chain(a: jax.Array, x: jax.Array) -> jax.Array:
    """Return A x, A A x and so on."""
    for _ in range(CHAIN):
        x = a @ x
    return x


def build(name: str) -> Program:
    """Return the products of a case."""
    size, dtype = parse(name)
    a, x = (jnp.asarray(array, dtype) for array in matrices(size))
    norm = jnp.linalg.norm(chain(a, x).astype(jnp.float32))
    return Program(lambda: chain(a, x).block_until_ready(), {}, [float(norm)])
