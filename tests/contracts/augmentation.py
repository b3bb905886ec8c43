"""Augmentations to be tested, by name, and what they are given."""

import jax
import jax.numpy as jnp
import numpy as np

from contracts import example
from fnn.data import (
    AddNoise,
    Augmentations,
    BatchAugmentations,
    CutMix,
    Cutout,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    one_hot,
)


def noisy(key, x):
    return x + jax.random.normal(key, x.shape, x.dtype)


AUGMENTATIONS = {
    "RandomFlip": RandomFlip,
    "RandomFlip, axis": lambda: RandomFlip(axis=-2, probability=0.3),
    "RandomCrop": lambda: RandomCrop((4, 3)),
    "RandomCrop, padded": lambda: RandomCrop((6, 5), padding=(2, 0)),
    "RandomShift": lambda: RandomShift((2, 1)),
    "RandomRotation": lambda: RandomRotation(30.0),
    "Cutout": lambda: Cutout(2),
    "AddNoise": lambda: AddNoise(0.1),
    "Augmentations": lambda: Augmentations(RandomShift(1), noisy, RandomFlip()),
}
MIXERS = {
    "Mixup": lambda: Mixup(0.4),
    "CutMix": lambda: CutMix(1.0),
    "BatchAugmentations": lambda: BatchAugmentations(RandomFlip(), Mixup(0.4)),
}
IMAGE = example((6, 5, 3))
BATCH = example((8, 6, 5, 3)), jnp.asarray(one_hot(np.arange(8) % 4, 4))
