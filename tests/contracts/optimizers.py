"""Optimizers, schedules, controllers and averages, and what they compute."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from contracts import OptimizerRow, ScheduleRow, updates
from contracts.updates import IS_KERNEL
from fnn import optimizers, schedules


class SequenceRow(NamedTuple):
    """An object that gets one value after the other: values -> outputs."""

    make: Callable[[], Any]
    oracle: Callable[[list[float]], list[float]]


OPTIMIZERS = {
    "SGD": OptimizerRow(lambda: optimizers.SGD(0.1), updates.sgd, optimizers.SGD),
    "Momentum": OptimizerRow(
        lambda: optimizers.Momentum(0.1),
        lambda: updates.momentum("rate_inside"),
        optimizers.Momentum,
    ),
    "Momentum, rate outside": OptimizerRow(
        lambda: optimizers.Momentum(0.1, form="rate_outside"),
        lambda: updates.momentum("rate_outside"),
    ),
    "Momentum, averaged": OptimizerRow(
        lambda: optimizers.Momentum(0.1, 0.8, "averaged"),
        lambda: updates.momentum("averaged", mu=0.8),
    ),
    "Nesterov": OptimizerRow(
        lambda: optimizers.Nesterov(0.1), updates.nesterov, optimizers.Nesterov
    ),
    "Adagrad": OptimizerRow(
        lambda: optimizers.Adagrad(0.1), updates.adagrad, optimizers.Adagrad
    ),
    "RMSProp": OptimizerRow(
        lambda: optimizers.RMSProp(0.1), updates.rmsprop, optimizers.RMSProp
    ),
    "Adadelta": OptimizerRow(
        lambda: optimizers.Adadelta(0.5, 0.9, 1e-3),
        lambda: updates.adadelta(0.5, 0.9, 1e-3),
        lambda rate: optimizers.Adadelta(rate, eps=1e-2),
    ),
    "Adam": OptimizerRow(lambda: optimizers.Adam(0.1), updates.adam, optimizers.Adam),
    "Adam, scheduled": OptimizerRow(
        lambda: optimizers.Adam(schedules.InverseTimeDecay(0.1, 0.5), 0.8, 0.9, 1e-3),
        lambda: updates.adam(lambda t: 0.1 / (1 + 0.5 * t), 0.8, 0.9, 1e-3),
    ),
    "Adam, without averages": OptimizerRow(
        lambda: optimizers.Adam(0.1, 0.0, 0.0), lambda: updates.adam(b1=0.0, b2=0.0)
    ),
    "AdamW": OptimizerRow(
        lambda: optimizers.AdamW(0.1),
        lambda: updates.adam(decay=1e-2, on=IS_KERNEL),
        lambda rate: optimizers.AdamW(rate, weight_decay=1e-4),
    ),
    "AdamW, on all": OptimizerRow(
        lambda: optimizers.AdamW(0.1, 0.8, weight_decay=0.1, on="*"),
        lambda: updates.adam(b1=0.8, decay=0.1),
    ),
    "Nadam": OptimizerRow(lambda: optimizers.Nadam(0.1), updates.nadam, optimizers.Nadam),
    "AMSGrad": OptimizerRow(
        lambda: optimizers.AMSGrad(0.1, b2=0.9),
        lambda: updates.amsgrad(b2=0.9),
        optimizers.AMSGrad,
    ),
    "AdaMax": OptimizerRow(
        lambda: optimizers.AdaMax(0.1), updates.adamax, optimizers.AdaMax
    ),
    "Lion": OptimizerRow(lambda: optimizers.Lion(0.1), updates.lion, optimizers.Lion),
    "Lion, decaying": OptimizerRow(
        lambda: optimizers.Lion(0.1, weight_decay=0.3), lambda: updates.lion(decay=0.3)
    ),
    "LAMB": OptimizerRow(
        lambda: optimizers.LAMB(0.1),
        updates.lamb,
        lambda rate: optimizers.LAMB(rate, weight_decay=0.0),
    ),
    "Muon": OptimizerRow(
        lambda: optimizers.Muon(0.1),
        lambda: updates.muon(updates.adam(lambda t: 3e-4)),
        lambda rate: optimizers.Muon(rate, others=optimizers.Adam(rate)),
    ),
    "Rprop": OptimizerRow(lambda: optimizers.Rprop(0.1), updates.rprop, optimizers.Rprop),
    "Rprop, bounded": OptimizerRow(
        lambda: optimizers.Rprop(0.1, 0.5, 2.0, 0.05, 0.3),
        lambda: updates.rprop(growth=2.0, low=0.05, high=0.3),
    ),
    "DeltaBarDelta": OptimizerRow(
        lambda: optimizers.DeltaBarDelta(0.1),
        updates.delta_bar_delta,
        optimizers.DeltaBarDelta,
    ),
    "ClipByValue": OptimizerRow(
        lambda: optimizers.ClipByValue(0.5), lambda: updates.clip_by_value(0.5)
    ),
    "ClipByNorm": OptimizerRow(
        lambda: optimizers.ClipByNorm(1.0), lambda: updates.clip_by_norm(1.0)
    ),
    "ClipByGlobalNorm": OptimizerRow(
        lambda: optimizers.ClipByGlobalNorm(1.0), lambda: updates.clip_by_global_norm(1.0)
    ),
    "AddDecayedWeights": OptimizerRow(
        lambda: optimizers.AddDecayedWeights(0.1), lambda: updates.add_decayed_weights(0.1)
    ),
    "AddDecayedWeights, on two": OptimizerRow(
        lambda: optimizers.AddDecayedWeights(0.1, ["*bias", "d"]),
        lambda: updates.add_decayed_weights(0.1, ~IS_KERNEL),
    ),
    "DecoupledDecay": OptimizerRow(
        lambda: optimizers.DecoupledDecay(optimizers.Momentum(0.1), 0.2),
        lambda: updates.decoupled_decay(updates.momentum("rate_inside"), 0.2),
        lambda rate: optimizers.DecoupledDecay(optimizers.SGD(rate), 1e-4),
    ),
    "Chain": OptimizerRow(
        lambda: optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), optimizers.Adam(0.1)),
        lambda: updates.chain(updates.clip_by_global_norm(1.0), updates.adam()),
        lambda rate: optimizers.Chain(
            optimizers.ClipByGlobalNorm(10.0), optimizers.SGD(rate)
        ),
    ),
    "Chain, frozen": OptimizerRow(
        lambda: optimizers.Chain(
            optimizers.ClipByGlobalNorm(1.0),
            optimizers.ByPath({"a/*": optimizers.Adam(0.1), "*": optimizers.Frozen()}),
        ),
        lambda: updates.chain(
            updates.clip_by_global_norm(1.0, only=IS_KERNEL), updates.adam()
        ),
    ),
    "Frozen": OptimizerRow(optimizers.Frozen, lambda: updates.sgd(0.0)),
    "ByPath": OptimizerRow(
        lambda: optimizers.ByPath(
            {
                ("*/bias", "d"): optimizers.Chain(
                    optimizers.ClipByGlobalNorm(0.5), optimizers.SGD(0.3)
                ),
                "*": optimizers.Adam(0.1),
            }
        ),
        lambda: updates.by_path(
            (~IS_KERNEL, updates.chain(updates.clip_by_global_norm(0.5), updates.sgd(0.3))),
            (IS_KERNEL, updates.adam()),
        ),
        lambda rate: optimizers.ByPath({"*": optimizers.SGD(rate)}),
    ),
    "Lookahead": OptimizerRow(
        lambda: optimizers.Lookahead(optimizers.Adam(0.1), 4, 0.3),
        lambda: updates.lookahead(updates.adam(), 4, 0.3),
        lambda rate: optimizers.Lookahead(optimizers.SGD(rate)),
    ),
    "DynamicLossScale": OptimizerRow(
        lambda: optimizers.DynamicLossScale(optimizers.Momentum(0.1), 64.0, 30, 4.0),
        lambda: updates.dynamic_loss_scale(updates.momentum("rate_inside"), 64, 30, 4),
        lambda rate: optimizers.DynamicLossScale(optimizers.SGD(rate), initial=1.0),
    ),
}

NEEDS_PARAMS = {
    "AdamW",
    "AdamW, on all",
    "Lion, decaying",
    "LAMB",
    "AddDecayedWeights",
    "AddDecayedWeights, on two",
    "DecoupledDecay",
    "Lookahead",
}
"""The others have the same updates whether or not they are given the parameters."""

RATE_PER_ELEMENT = {"Rprop", "DeltaBarDelta"}
"""Their states' rate is a mean of many, which change."""

SCHEDULES = {
    "Constant": ScheduleRow(lambda: schedules.Constant(0.1), lambda t: 0.1),
    "InverseTimeDecay": ScheduleRow(
        lambda: schedules.InverseTimeDecay(0.2, 0.5, 10),
        lambda t: 0.2 / (1 + 0.5 * t / 10),
    ),
    "InverseTimeDecay, staircase": ScheduleRow(
        lambda: schedules.InverseTimeDecay(0.2, 1.0, 10, staircase=True),
        lambda t: 0.2 / (1 + t // 10),
    ),
    "StepDecay": ScheduleRow(
        lambda: schedules.StepDecay(0.2, 0.5, 7), lambda t: 0.2 * 0.5 ** (t // 7)
    ),
    "ExponentialDecay": ScheduleRow(
        lambda: schedules.ExponentialDecay(0.2, 0.5, 7), lambda t: 0.2 * 0.5 ** (t / 7)
    ),
    "PolynomialDecay": ScheduleRow(
        lambda: schedules.PolynomialDecay(0.2, 40, 0.01, 3.0),
        lambda t: 0.01 + 0.19 * (1 - t / 40) ** 3 if t < 40 else 0.01,
    ),
    "CosineDecay": ScheduleRow(
        lambda: schedules.CosineDecay(0.2, 40, 0.01),
        lambda t: 0.01 + 0.19 * (1 + np.cos(np.pi * t / 40)) / 2 if t < 40 else 0.01,
    ),
    "Warmup": ScheduleRow(
        lambda: schedules.Warmup(schedules.StepDecay(0.2, 0.5, 7), 20, 0.1),
        lambda t: 0.1 + 0.1 * t / 20 if t < 20 else 0.2 * 0.5 ** ((t - 20) // 7),
    ),
    "Warmup, to a number": ScheduleRow(
        lambda: schedules.Warmup(0.2, 20), lambda t: 0.2 * min(t / 20, 1)
    ),
    "OneCycle": ScheduleRow(
        lambda: schedules.OneCycle(0.5, 50, 0.4, 10.0, 100.0),
        lambda t: (
            0.05 + 0.45 * (1 - np.cos(np.pi * t / 20)) / 2
            if t < 20
            else 0.005 + 0.495 * (1 + np.cos(np.pi * min((t - 20) / 30, 1))) / 2
        ),
    ),
    "Piecewise": ScheduleRow(
        lambda: schedules.Piecewise((7, 21), (0.3, 0.2, 0.1)),
        lambda t: 0.3 if t < 7 else 0.2 if t < 21 else 0.1,
    ),
    "Piecewise, of schedules": ScheduleRow(
        lambda: schedules.Piecewise([20], [0.3, schedules.InverseTimeDecay(0.2, 1.0)]),
        lambda t: 0.3 if t < 20 else 0.2 / (1 + t - 20),
    ),
    "ByEpoch": ScheduleRow(
        lambda: schedules.ByEpoch(schedules.ExponentialDecay(0.2, 0.5), 8),
        lambda t: 0.2 * 0.5 ** (t // 8),
    ),
}


def on_plateau(values, factor=0.5, patience=3, min_delta=0.1, min_scale=0.1):
    best, waited, scale, scales = np.inf, 0, 1.0, []
    for value in values:
        if value < best - min_delta:
            best, waited = value, 0
        else:
            waited += 1
        if waited == patience:
            scale, waited = max(scale * factor, min_scale), 0
        scales.append(scale)
    return scales


def bold_driver(values, growth=1.1, shrink=0.4):
    reference, scale, scales = values[0], 1.0, [1.0]
    for value in values[1:]:
        if value <= reference:
            reference, scale = value, scale * growth
        else:
            scale *= shrink
        scales.append(scale)
    return scales


CONTROLLERS = {
    "ReduceOnPlateau": SequenceRow(
        lambda: schedules.ReduceOnPlateau(0.5, 3, 0.1, 0.1), on_plateau
    ),
    "BoldDriver": SequenceRow(lambda: schedules.BoldDriver(1.1, 0.4), bold_driver),
}


def debiased(values, decay=0.8):
    """Weights that fall by `decay` and add up to 1."""
    averages = []
    for n in range(1, len(values) + 1):
        weights = decay ** np.arange(n)[::-1]
        averages.append((weights * values[:n]).sum() / weights.sum())
    return averages


def biased(values, first=0.0, decay=0.8):
    averages = [first]
    for value in values:
        averages.append(decay * averages[-1] + (1 - decay) * value)
    return averages[1:]


def polyak(values, start=0, period=1):
    averages = []
    for n in range(1, len(values) + 1):
        counted = values[start:n:period]
        averages.append(np.mean(counted) if len(counted) else values[n - 1])
    return averages


AVERAGES = {
    "ExponentialMovingAverage": SequenceRow(
        lambda: optimizers.ExponentialMovingAverage(0.8), debiased
    ),
    "ExponentialMovingAverage, biased": SequenceRow(
        lambda: optimizers.ExponentialMovingAverage(0.8, debias=False), biased
    ),
    "PolyakAverage": SequenceRow(optimizers.PolyakAverage, polyak),
    "PolyakAverage, every third": SequenceRow(
        lambda: optimizers.PolyakAverage(10, 3), lambda values: polyak(values, 10, 3)
    ),
}
