"""fnn: a functional neural-network library for JAX.

Models are values with two pure functions, `init` and `apply`, over nested dicts of arrays;
losses and optimizers are pure functions too, and gradients come from `jax.grad`.
"""

# A module is imported when it is first used; `__init__.pyi` says what there is, and where.

from fnn.lazy import attach as _attach

__version__ = "0.1.0"

__getattr__, __dir__ = _attach(__name__, __file__)
