"""Searches for good settings, whose trials train together where their shapes agree."""

from fnn.lazy import explain_missing as _explain_missing
from fnn.search.folds import cross_validate as cross_validate
from fnn.search.halving import successive_halving as successive_halving
from fnn.search.methods import grid as grid
from fnn.search.methods import quasi_random as quasi_random
from fnn.search.methods import random as random
from fnn.search.results import Results as Results
from fnn.search.results import load_results as load_results
from fnn.search.spaces import Choice as Choice
from fnn.search.spaces import Distribution as Distribution
from fnn.search.spaces import Integers as Integers
from fnn.search.spaces import LogUniform as LogUniform
from fnn.search.spaces import Uniform as Uniform

_explain_missing(__name__)
