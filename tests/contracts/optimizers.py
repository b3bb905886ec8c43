"""Optimizers and schedules, and what they compute."""

import numpy as np

from contracts import OptimizerRow, ScheduleRow
from fnn import optimizers, schedules


def sgd(rate=0.1):
    g = yield
    while True:
        g = yield -rate * g


def momentum(form, rate=0.1, mu=0.9):
    g = yield
    v = np.zeros_like(g)
    while True:
        if form == "rate_inside":
            v = mu * v - rate * g
            g = yield v
        else:
            v = mu * v - (g if form == "rate_outside" else (1 - mu) * g)
            g = yield rate * v


def adam(rate=lambda t: 0.1, b1=0.9, b2=0.999, eps=1e-8):
    g = yield
    m, v, t = np.zeros_like(g), np.zeros_like(g), 0
    while True:
        step_rate, t = rate(t), t + 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        g = yield -step_rate * m_hat / (np.sqrt(v_hat) + eps)


def clip_by_global_norm(max_norm):
    g = yield
    while True:
        g = yield g * min(1, max_norm / np.sqrt((g**2).sum()))


def chain(*stages):
    for stage in stages:
        next(stage)
    g = yield
    while True:
        for stage in stages:
            g = stage.send(g)
        g = yield g


OPTIMIZERS = {
    "SGD": OptimizerRow(lambda: optimizers.SGD(0.1), sgd, optimizers.SGD),
    "Momentum": OptimizerRow(
        lambda: optimizers.Momentum(0.1),
        lambda: momentum("rate_inside"),
        optimizers.Momentum,
    ),
    "Momentum, rate outside": OptimizerRow(
        lambda: optimizers.Momentum(0.1, form="rate_outside"),
        lambda: momentum("rate_outside"),
    ),
    "Momentum, averaged": OptimizerRow(
        lambda: optimizers.Momentum(0.1, 0.8, "averaged"),
        lambda: momentum("averaged", mu=0.8),
    ),
    "Adam": OptimizerRow(lambda: optimizers.Adam(0.1), adam, optimizers.Adam),
    "Adam, scheduled": OptimizerRow(
        lambda: optimizers.Adam(schedules.InverseTimeDecay(0.1, 0.5), 0.8, 0.9, 1e-3),
        lambda: adam(lambda t: 0.1 / (1 + 0.5 * t), 0.8, 0.9, 1e-3),
    ),
    "ClipByGlobalNorm": OptimizerRow(
        lambda: optimizers.ClipByGlobalNorm(1.0), lambda: clip_by_global_norm(1.0)
    ),
    "Chain": OptimizerRow(
        lambda: optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), optimizers.Adam(0.1)),
        lambda: chain(clip_by_global_norm(1.0), adam()),
        lambda rate: optimizers.Chain(
            optimizers.ClipByGlobalNorm(1.0), optimizers.SGD(rate)
        ),
    ),
}

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
}
