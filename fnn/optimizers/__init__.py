"""Optimizers: pure update functions, `init(params)` and `update(grads, state, params)`.

The protocol is Optax's, so either side's optimizers work in the other's loops.
"""

from fnn.optimizers.adaptive import Adam as Adam
from fnn.optimizers.base import Chain as Chain
from fnn.optimizers.base import Optimizer as Optimizer
from fnn.optimizers.base import apply_updates as apply_updates
from fnn.optimizers.base import current_learning_rate as current_learning_rate
from fnn.optimizers.gradient_descent import SGD as SGD
from fnn.optimizers.gradient_descent import Momentum as Momentum
from fnn.optimizers.transforms import ClipByGlobalNorm as ClipByGlobalNorm
