"""The updates of optimizers by their published formulas, in NumPy.

An oracle is a generator that is sent (gradients, parameters), each one vector of all
elements in the order of `SHAPES`, and yields updates.
"""

import numpy as np

SHAPES = {"a/kernel": (2, 3), "b/bias": (3,), "d": ()}
KERNEL, BIAS, SCALAR = slice(0, 6), slice(6, 9), slice(9, 10)
LEAVES = (KERNEL, BIAS, SCALAR)
IS_KERNEL = np.arange(10) < 6


def sgd(rate=0.1):
    g, _ = yield
    while True:
        g, _ = yield -rate * g


def momentum(form, rate=0.1, mu=0.9):
    g, _ = yield
    v = np.zeros_like(g)
    while True:
        if form == "rate_inside":
            v = mu * v - rate * g
            g, _ = yield v
        else:
            v = mu * v - (g if form == "rate_outside" else (1 - mu) * g)
            g, _ = yield rate * v


def nesterov(rate=0.1, mu=0.9):
    """As PyTorch has it: the rate stays outside of the velocity."""
    g, _ = yield
    v = np.zeros_like(g)
    while True:
        v = mu * v + g
        g, _ = yield -rate * (g + mu * v)


def adagrad(rate=0.1, eps=1e-8):
    g, _ = yield
    seen = []
    while True:
        seen.append(g)
        g, _ = yield -rate * g / (np.sqrt(np.sum(np.square(seen), axis=0)) + eps)


def rmsprop(rate=0.1, decay=0.9, eps=1e-8):
    g, _ = yield
    s = np.zeros_like(g)
    while True:
        s = decay * s + (1 - decay) * g**2
        g, _ = yield -rate * g / (np.sqrt(s) + eps)


def adadelta(rate, decay, eps):
    g, _ = yield
    s, u = np.zeros_like(g), np.zeros_like(g)
    while True:
        s = decay * s + (1 - decay) * g**2
        delta = np.sqrt(u + eps) / np.sqrt(s + eps) * g
        u = decay * u + (1 - decay) * delta**2
        g, _ = yield -rate * delta


def adam(rate=lambda t: 0.1, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, on=1):
    g, w = yield
    m, v, t = np.zeros_like(g), np.zeros_like(g), 0
    while True:
        step_rate, t = rate(t), t + 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        u = m_hat / (np.sqrt(v_hat) + eps)
        g, w = yield -step_rate * (u + decay * on * w)


def nadam(rate=0.1, b1=0.9, b2=0.999, eps=1e-8):
    g, _ = yield
    m, v, t = np.zeros_like(g), np.zeros_like(g), 0
    while True:
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        g, _ = yield -rate * ahead / (np.sqrt(v / (1 - b2**t)) + eps)


def amsgrad(rate=0.1, b1=0.9, b2=0.999, eps=1e-8):
    g, _ = yield
    m, v, u, t = np.zeros_like(g), np.zeros_like(g), np.zeros_like(g), 0
    while True:
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        u = np.maximum(u, v / (1 - b2**t))
        g, _ = yield -rate * m / (1 - b1**t) / (np.sqrt(u) + eps)


def adamax(rate=0.1, b1=0.9, b2=0.999, eps=1e-8):
    g, _ = yield
    m, u, t = np.zeros_like(g), np.zeros_like(g), 0
    while True:
        t += 1
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g) + eps)
        g, _ = yield -rate / (1 - b1**t) * m / u


def lion(rate=0.1, b1=0.9, b2=0.99, decay=0.0):
    g, w = yield
    m = np.zeros_like(g)
    while True:
        u = -rate * (np.sign(b1 * m + (1 - b1) * g) + decay * IS_KERNEL * w)
        m = b2 * m + (1 - b2) * g
        g, w = yield u


def lamb(rate=0.1, b1=0.9, b2=0.999, eps=1e-6, decay=1e-2):
    g, w = yield
    m, v, t = np.zeros_like(g), np.zeros_like(g), 0
    while True:
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * IS_KERNEL * w
        for leaf in LEAVES:
            u[leaf] *= np.linalg.norm(w[leaf]) / np.linalg.norm(u[leaf])
        g, w = yield -rate * u


def muon(others, rate=0.1, mu=0.95, iterations=5):
    """The iteration acts on singular values alone, and these come from an SVD here."""
    next(others)
    g, w = yield
    v = np.zeros((2, 3))
    while True:
        update = others.send((g, w)).copy()
        kernel_g = g[KERNEL].reshape(2, 3)
        v = mu * v + kernel_g
        left, s, right = np.linalg.svd(mu * v + kernel_g, full_matrices=False)
        s = s / np.sqrt((s**2).sum())
        for _ in range(iterations):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        update[KERNEL] = -rate * np.sqrt(3 / 2) * (left @ np.diag(s) @ right).ravel()
        g, w = yield update


def rprop(rate=0.1, shrink=0.5, growth=1.2, low=1e-6, high=50.0):
    g, _ = yield
    size, before = np.full_like(g, rate), np.zeros_like(g)
    while True:
        g, update = g.copy(), np.zeros_like(g)
        for i in range(g.size):
            if g[i] * before[i] > 0:
                size[i] = min(growth * size[i], high)
            elif g[i] * before[i] < 0:
                size[i] = max(shrink * size[i], low)
                g[i] = 0
            update[i] = -size[i] * np.sign(g[i])
        before = g
        g, _ = yield update


def delta_bar_delta(rate=0.1, increase=0.01, decrease=0.1, decay=0.7):
    g, _ = yield
    rates, average = np.full_like(g, rate), np.zeros_like(g)
    while True:
        for i in range(g.size):
            if average[i] * g[i] > 0:
                rates[i] += increase
            elif average[i] * g[i] < 0:
                rates[i] -= decrease * rates[i]
        average = decay * average + (1 - decay) * g
        g, _ = yield -rates * g


def clip_by_value(limit):
    g, _ = yield
    while True:
        g, _ = yield np.clip(g, -limit, limit)


def clip_by_norm(max_norm):
    g, _ = yield
    while True:
        clipped = [g[i] * min(1, max_norm / np.linalg.norm(g[i])) for i in LEAVES]
        g, _ = yield np.concatenate(clipped)


def clip_by_global_norm(max_norm, only=None):
    g, _ = yield
    while True:
        counted = g if only is None else g * only
        g, _ = yield counted * min(1, max_norm / np.sqrt((counted**2).sum()))


def add_decayed_weights(decay, on=IS_KERNEL):
    g, w = yield
    while True:
        g, w = yield g + decay * on * w


def decoupled_decay(inner, decay, rate=0.1, on=IS_KERNEL):
    next(inner)
    g, w = yield
    while True:
        g, w = yield inner.send((g, w)) - rate * decay * on * w


def chain(*stages):
    for stage in stages:
        next(stage)
    g, w = yield
    while True:
        for stage in stages:
            g = stage.send((g, w))
        g, w = yield g


def by_path(*rules):
    """Rules are (indices, oracle): each oracle is sent its own elements only."""
    for _, oracle in rules:
        next(oracle)
    g, w = yield
    while True:
        update = np.zeros_like(g)
        for own, oracle in rules:
            update[own] = oracle.send((g[own], w[own]))
        g, w = yield update


def dynamic_loss_scale(inner, scale, period, factor=2.0):
    """No gradient overflows here."""
    next(inner)
    g, w = yield
    t = 0
    while True:
        update = inner.send((g / scale, w))
        t += 1
        if t % period == 0:
            scale *= factor
        g, w = yield update


def lookahead(inner, period, slow_rate):
    next(inner)
    g, w = yield
    slow, t = w, 0
    while True:
        t += 1
        target = w + inner.send((g, w))
        if t % period == 0:
            slow = slow + slow_rate * (target - slow)
            target = slow
        g, w = yield target - w
