"""Optimizers: pure update functions, `init(params)` and `update(grads, state, params)`.

The protocol is Optax's, so either side's optimizers work in the other's loops.
"""

from fnn.lazy import attach as _attach

__getattr__, __dir__ = _attach(__name__, __file__)
