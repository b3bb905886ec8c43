"""fnn: a functional neural-network library for JAX.

Models are values with two pure functions, `init` and `apply`, over nested dicts of arrays;
losses and optimizers are pure functions too, and gradients come from `jax.grad`.
"""

from fnn import activations as activations
from fnn import checkpoint as checkpoint
from fnn import data as data
from fnn import diagnostics as diagnostics
from fnn import initializers as initializers
from fnn import layers as layers
from fnn import losses as losses
from fnn import metrics as metrics
from fnn import models as models
from fnn import optimizers as optimizers
from fnn import plots as plots
from fnn import regularizers as regularizers
from fnn import schedules as schedules
from fnn import search as search
from fnn import sharding as sharding
from fnn import training as training
from fnn import tree as tree
from fnn.inference import export as export
from fnn.inference import predict as predict
from fnn.inspection import summary as summary
from fnn.layers import AvgPool as AvgPool
from fnn.layers import Batched as Batched
from fnn.layers import BatchNorm as BatchNorm
from fnn.layers import Conv as Conv
from fnn.layers import ConvTranspose as ConvTranspose
from fnn.layers import Dense as Dense
from fnn.layers import DepthwiseConv as DepthwiseConv
from fnn.layers import DropConnect as DropConnect
from fnn.layers import Dropout as Dropout
from fnn.layers import Embedding as Embedding
from fnn.layers import Flatten as Flatten
from fnn.layers import GaussianNoise as GaussianNoise
from fnn.layers import GlobalPool as GlobalPool
from fnn.layers import GroupNorm as GroupNorm
from fnn.layers import InstanceNorm as InstanceNorm
from fnn.layers import Layer as Layer
from fnn.layers import LayerNorm as LayerNorm
from fnn.layers import Maxout as Maxout
from fnn.layers import MaxPool as MaxPool
from fnn.layers import MinPool as MinPool
from fnn.layers import MixedPrecision as MixedPrecision
from fnn.layers import Parallel as Parallel
from fnn.layers import PartitionPool as PartitionPool
from fnn.layers import PReLU as PReLU
from fnn.layers import Remat as Remat
from fnn.layers import Repeat as Repeat
from fnn.layers import Reshape as Reshape
from fnn.layers import Residual as Residual
from fnn.layers import RMSNorm as RMSNorm
from fnn.layers import Sequential as Sequential
from fnn.layers import StochasticDepth as StochasticDepth
from fnn.layers import batched as batched
from fnn.training import EarlyStopping as EarlyStopping
from fnn.training import TrainState as TrainState
from fnn.training import evaluate as evaluate
from fnn.training import fit as fit
from fnn.training import make_step as make_step
from fnn.training import memory_report as memory_report
from fnn.training import supervised as supervised
from fnn.training import train as train
from fnn.values import Value as Value

__version__ = "0.1.0"
