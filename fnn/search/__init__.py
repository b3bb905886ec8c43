"""Searches for good settings. Trials whose shapes agree train together.

A `Study` holds the setup, the data and the metric, and its methods choose the settings. One
search reads as follows: `spaces` draws settings from a space, `setups` puts a setting into
an objective and an optimizer, `trials` trains those of one structure in one compiled call,
`search_loop` records each in its `journal`, and `results` ranks them.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.search.folds import cross_validate as cross_validate
from fnn.search.results import Results as Results
from fnn.search.results import load_results as load_results
from fnn.search.spaces import Choice as Choice
from fnn.search.spaces import Distribution as Distribution
from fnn.search.spaces import Integers as Integers
from fnn.search.spaces import LogUniform as LogUniform
from fnn.search.spaces import Uniform as Uniform
from fnn.search.studies import Study as Study

_explain_missing(__name__)
