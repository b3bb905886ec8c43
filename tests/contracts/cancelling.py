"""Factors of which the products nearly cancel."""

import numpy as np

CASES = [
    "common mean",
    "tiny deviations",
    "large mean",
    "two clusters",
    "equal and opposite",
    "huge range",
]


def cancelling(case, seed, t=64, d=32, p=24):
    """Return activations, (T, d), and cotangents, (T, p)."""
    rng = np.random.default_rng(seed)
    noise, a = rng.normal(size=(t, d)), np.ones((t, d))
    g = rng.normal(size=(t, p))
    if case == "common mean":
        a, g = a + 1e-3 * noise, g - g.mean(0)
    elif case == "tiny deviations":
        a, g = a + 1e-5 * noise, g - g.mean(0)
    elif case == "large mean":
        a, g = 100 * a + noise, g - g.mean(0)
    elif case == "two clusters":
        sign = np.where(np.arange(t) % 2, 1, -1)
        g[::2] -= g[::2].mean(0)
        g[1::2] -= g[1::2].mean(0)
        a = sign[:, None] * a + 1e-3 * noise
    elif case == "equal and opposite":
        a[t // 2 :], g[t // 2 :] = a[: t // 2], -g[: t // 2] * (1 + 1e-3)
    elif case == "huge range":
        a, g = noise * 10.0 ** rng.integers(-9, 9, (t, 1)), g - g.mean(0)
    return a, g
