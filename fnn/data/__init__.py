"""Data: real sets, splits, batches, shuffling and preprocessing, on the host."""

from fnn.data.datasets import Examples as Examples
from fnn.data.datasets import digits as digits
from fnn.data.datasets import mnist as mnist
from fnn.data.idx import read_idx as read_idx
from fnn.data.preprocessing import Standardize as Standardize
from fnn.data.shuffling import permutation as permutation
from fnn.data.splits import batches as batches
from fnn.data.splits import split as split
