"""Optimizers: pure update functions, `init(params)` and `update(grads, state, params)`.

The protocol is Optax's, so either side's optimizers work in the other's loops.
"""

from fnn.optimizers.adaptive import Adadelta as Adadelta
from fnn.optimizers.adaptive import Adagrad as Adagrad
from fnn.optimizers.adaptive import RMSProp as RMSProp
from fnn.optimizers.averaging import ExponentialMovingAverage as ExponentialMovingAverage
from fnn.optimizers.averaging import Lookahead as Lookahead
from fnn.optimizers.averaging import PolyakAverage as PolyakAverage
from fnn.optimizers.base import Optimizer as Optimizer
from fnn.optimizers.base import apply_updates as apply_updates
from fnn.optimizers.base import current_learning_rate as current_learning_rate
from fnn.optimizers.base import current_loss_scale as current_loss_scale
from fnn.optimizers.base import frozen_mask as frozen_mask
from fnn.optimizers.base import skipped_steps as skipped_steps
from fnn.optimizers.composition import ByPath as ByPath
from fnn.optimizers.composition import Chain as Chain
from fnn.optimizers.composition import Frozen as Frozen
from fnn.optimizers.gradient_descent import SGD as SGD
from fnn.optimizers.gradient_descent import Momentum as Momentum
from fnn.optimizers.gradient_descent import Nesterov as Nesterov
from fnn.optimizers.layerwise import LAMB as LAMB
from fnn.optimizers.layerwise import Muon as Muon
from fnn.optimizers.line_search import backtracking as backtracking
from fnn.optimizers.loss_scaling import DynamicLossScale as DynamicLossScale
from fnn.optimizers.moments import Adam as Adam
from fnn.optimizers.moments import AdaMax as AdaMax
from fnn.optimizers.moments import AdamW as AdamW
from fnn.optimizers.moments import AMSGrad as AMSGrad
from fnn.optimizers.moments import Nadam as Nadam
from fnn.optimizers.signs import DeltaBarDelta as DeltaBarDelta
from fnn.optimizers.signs import Lion as Lion
from fnn.optimizers.signs import Rprop as Rprop
from fnn.optimizers.transforms import ClipByGlobalNorm as ClipByGlobalNorm
from fnn.optimizers.transforms import ClipByNorm as ClipByNorm
from fnn.optimizers.transforms import ClipByValue as ClipByValue
from fnn.optimizers.weight_decay import AddDecayedWeights as AddDecayedWeights
from fnn.optimizers.weight_decay import DecoupledDecay as DecoupledDecay
