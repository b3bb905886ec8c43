"""fnn: a functional neural-network library for JAX.

Models are values with two pure functions, `init` and `apply`, over nested dicts of arrays;
losses and optimizers are pure functions too, and gradients come from `jax.grad`.
"""

from fnn import activations as activations
from fnn import data as data
from fnn import initializers as initializers
from fnn import layers as layers
from fnn import losses as losses
from fnn import metrics as metrics
from fnn import optimizers as optimizers
from fnn import plots as plots
from fnn import schedules as schedules
from fnn import training as training
from fnn import tree as tree
from fnn.inspection import summary as summary
from fnn.layers import Batched as Batched
from fnn.layers import Dense as Dense
from fnn.layers import Dropout as Dropout
from fnn.layers import Flatten as Flatten
from fnn.layers import Layer as Layer
from fnn.layers import Parallel as Parallel
from fnn.layers import Residual as Residual
from fnn.layers import Sequential as Sequential
from fnn.layers import batched as batched
from fnn.training import TrainState as TrainState
from fnn.training import evaluate as evaluate
from fnn.training import fit as fit
from fnn.training import make_step as make_step
from fnn.training import supervised as supervised
from fnn.values import Value as Value

__version__ = "0.1.0"
