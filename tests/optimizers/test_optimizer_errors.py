"""Optimizers refuse what they can't be configured with, and say why."""

import re

import jax.numpy as jnp
import pytest

import fnn
from fnn import optimizers


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: optimizers.Adam(0.1, b2=1.0), ValueError, "b2 must be below 1, got 1.0"),
        (lambda: optimizers.Adam(0.1, b1=-0.1), ValueError, "b1 must be in [0, 1]"),
        (lambda: optimizers.Adam(jnp.ones(2)), ValueError, "must be one number or a sch"),
        (lambda: optimizers.RMSProp(0.1, decay=1), ValueError, "decay must be below 1"),
        (lambda: optimizers.Adagrad(0.1, eps=-1), ValueError, "eps must be in [0, inf]"),
        (lambda: optimizers.Nesterov(0.1, 1.5), ValueError, "momentum must be in [0, 1]"),
        (
            lambda: optimizers.AdamW(0.1, weight_decay=-1),
            ValueError,
            "weight_decay must be",
        ),
        (lambda: optimizers.AdamW(0.1, on=3), TypeError, "on must be a glob or a tuple"),
        (lambda: optimizers.AdamW(0.1, on=()), TypeError, "on must be a glob or a tuple"),
        (
            lambda: optimizers.Lion(0.1, on=("a", 1)),
            TypeError,
            "on must be a glob or a tup",
        ),
        (
            lambda: optimizers.Muon(0.1, iterations=0),
            ValueError,
            "iterations must be a pos",
        ),
        (lambda: optimizers.Muon(0.1, others=0.1), TypeError, "Muon, for leaves that are"),
        (
            lambda: optimizers.Rprop(fnn.schedules.Constant(0.1)),
            ValueError,
            "learning_rate, with which Rprop's step sizes start, must be in [0, inf]",
        ),
        (
            lambda: optimizers.DeltaBarDelta(jnp.ones(2)),
            ValueError,
            "DeltaBarDelta's rates start, must be one number, got float32[2]",
        ),
        (
            lambda: optimizers.Rprop(0.1, growth=0.9),
            ValueError,
            "growth must be in [1, inf]",
        ),
        (
            lambda: optimizers.Rprop(0.1, max_step=0.0),
            ValueError,
            "max_step must be in [1e-",
        ),
        (lambda: optimizers.DeltaBarDelta(0.1, decrease=2), ValueError, "decrease must be"),
        (lambda: optimizers.ClipByValue(-1), ValueError, "limit must be in [0, inf]"),
        (lambda: optimizers.ClipByNorm("1"), ValueError, "max_norm must be in [0, inf]"),
        (lambda: optimizers.AddDecayedWeights(-1), ValueError, "decay must be in [0, inf]"),
        (
            lambda: optimizers.DecoupledDecay(0.1, 0.1),
            TypeError,
            "DecoupledDecay needs an op",
        ),
        (lambda: optimizers.ByPath({}), ValueError, "ByPath needs optimizers by glob"),
        (
            lambda: optimizers.ByPath(optimizers.SGD(0.1)),
            ValueError,
            "ByPath needs optimize",
        ),
        (
            lambda: optimizers.ByPath({"*": 0.1}),
            TypeError,
            "ByPath, for '*', needs an optim",
        ),
        (
            lambda: optimizers.ByPath({1: optimizers.Frozen()}),
            TypeError,
            "a path must be a g",
        ),
        (lambda: optimizers.Lookahead(0.1), TypeError, "Lookahead needs an optimizer"),
        (
            lambda: optimizers.Lookahead(optimizers.SGD(0.1), period=0),
            ValueError,
            "period must be a positive integer, got 0",
        ),
        (
            lambda: optimizers.Lookahead(optimizers.SGD(0.1), slow_rate=2),
            ValueError,
            "slow_rate must be in [0, 1], got 2",
        ),
        (
            lambda: optimizers.ExponentialMovingAverage(1.0),
            ValueError,
            "decay must be below",
        ),
        (lambda: optimizers.PolyakAverage(-1), ValueError, "start must be a positive int"),
        (lambda: optimizers.PolyakAverage(0, 0), ValueError, "period must be a positive"),
    ],
)
def test_bad_configuration_is_refused(make, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        make()
