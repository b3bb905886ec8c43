"""What every value promises."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest
from contracts import over
from contracts.initializers import INITIALIZERS
from contracts.layers import LAYERS
from contracts.normalization import BATCH_NORMALIZATION, EMBEDDING
from contracts.optimizers import OPTIMIZERS, SCHEDULES
from contracts.regularizers import REGULARIZERS

import fnn
from fnn import optimizers

VALUES = {
    **{name: row.make for name, row in LAYERS.items()},
    **{name: row.make for name, row in OPTIMIZERS.items()},
    **{name: row.make for name, row in SCHEDULES.items()},
    **{name: row.make for name, row in INITIALIZERS.items()},
    **{name: row.make for name, row in REGULARIZERS.items()},
    **{name: row.make for name, row in (BATCH_NORMALIZATION | EMBEDDING).items()},
    "MixedPrecision": lambda: fnn.MixedPrecision(fnn.Dense(2), "float16"),
    "Standardize": lambda: fnn.data.Standardize(np.zeros(2), np.ones(2)),
    "Supervised": lambda: fnn.supervised(
        fnn.Dense(2), fnn.losses.squared_error, metrics={"a": fnn.metrics.accuracy}
    ),
    "Step": lambda: fnn.make_step(
        fnn.supervised(fnn.Dense(2), fnn.losses.squared_error), optimizers.SGD(0.1)
    ),
}


@over(VALUES, "make")
def test_value_prints_compares_hashes_and_pickles(make):
    value = make()
    assert value == make()
    assert hash(value) == hash(make())
    assert eval(repr(value), {"fnn": fnn, "jax": jax}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert dataclasses.replace(value) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.anything = 1
