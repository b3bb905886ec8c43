"""The promises of every value."""

import dataclasses
import pickle

import contracts
import jax
import numpy as np
import pytest
from contracts import over
from contracts.initializers import INITIALIZERS
from contracts.layers import LAYERS
from contracts.normalization import BATCH_NORMALIZATION, EMBEDDING
from contracts.optimizers import OPTIMIZERS, SCHEDULES
from contracts.regularizers import REGULARIZERS
from test_public_api import MODULES

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
    assert eval(repr(value), {"fnn": fnn, "jax": jax, "contracts": contracts}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert value.replace() == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.anything = 1


READY_MADE = {
    f"{module.__name__}.{name}": thing
    for module in MODULES
    for name in dir(module)
    if isinstance(thing := getattr(module, name), fnn.Value)
    and module.__name__ in str(thing)
}


@pytest.mark.parametrize("name", READY_MADE)
def test_a_ready_made_value_prints_as_its_name(name):
    value = READY_MADE[name]
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    by_hand = type(value)(**fields)
    assert repr(value) == repr(by_hand) == name
    assert eval(name, {"fnn": fnn}) == by_hand


def test_every_initializer_with_a_name_is_ready_made():
    named = {"glorot_normal", "he_normal", "lecun_uniform", "zeros", "ones"}
    assert {f"fnn.initializers.{name}" for name in named} <= READY_MADE.keys()
    layer = fnn.Dense(3, kernel_init=fnn.initializers.he_normal)
    assert repr(layer) == "fnn.Dense(3, kernel_init=fnn.initializers.he_normal)"
    other = fnn.initializers.VarianceScaling(3.0, "in", "normal")
    assert repr(other) == "fnn.initializers.VarianceScaling(3.0, 'in', 'normal')"


def test_a_value_of_a_users_is_not_named_by_a_variable():
    assert repr(MINE) == "test_value_contract.Mine(1)"


class Mine(fnn.Value):
    """A user's, of which a module has one."""

    number: int


MINE = Mine(1)
