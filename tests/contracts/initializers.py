"""Initializers, and what they compute."""

from contracts import InitializerRow
from fnn import initializers

WINDOW = (3, 3, 20, 40)  # fan_in 180, fan_out 360

INITIALIZERS = {
    "glorot_normal": InitializerRow(
        lambda: initializers.glorot_normal, (80, 40), 0, 2 / 120
    ),
    "glorot_uniform": InitializerRow(
        lambda: initializers.glorot_uniform, WINDOW, 0, 2 / 540
    ),
    "he_normal": InitializerRow(lambda: initializers.he_normal, WINDOW, 0, 2 / 180),
    "he_uniform": InitializerRow(lambda: initializers.he_uniform, (80, 40), 0, 2 / 80),
    "lecun_normal": InitializerRow(lambda: initializers.lecun_normal, (80, 40), 0, 1 / 80),
    "lecun_uniform": InitializerRow(lambda: initializers.lecun_uniform, WINDOW, 0, 1 / 180),
    "VarianceScaling, truncated": InitializerRow(
        lambda: initializers.VarianceScaling(3.0, "out", "truncated_normal"),
        (80, 40),
        0,
        3 / 40,
    ),
    "Normal": InitializerRow(lambda: initializers.Normal(0.2), (3000,), 0, 0.04),
    "TruncatedNormal": InitializerRow(
        lambda: initializers.TruncatedNormal(0.5), (3000,), 0, 0.25 * 0.77374
    ),
    "Uniform": InitializerRow(lambda: initializers.Uniform(-1.0, 2.0), (3000,), 0.5, 0.75),
    "Orthogonal": InitializerRow(lambda: initializers.Orthogonal(2.0), (80, 40), 0, 4 / 80),
    "Constant": InitializerRow(lambda: initializers.Constant(0.3), (3, 2), 0.3, 0),
    "zeros": InitializerRow(lambda: initializers.zeros, (3, 2), 0, 0),
    "ones": InitializerRow(lambda: initializers.ones, (3,), 1, 0),
}
