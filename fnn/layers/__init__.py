"""Layers, and the combinators that make networks of them."""

from fnn.layers.base import Function as Function
from fnn.layers.base import Layer as Layer
from fnn.layers.combinators import Batched as Batched
from fnn.layers.combinators import Parallel as Parallel
from fnn.layers.combinators import Residual as Residual
from fnn.layers.combinators import Sequential as Sequential
from fnn.layers.combinators import batched as batched
from fnn.layers.linear import Dense as Dense
from fnn.layers.linear import Flatten as Flatten
from fnn.layers.stochastic import Dropout as Dropout
