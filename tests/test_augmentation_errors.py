"""Augmentation: what is refused, and how it is said."""

import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key

from fnn.data import (
    AddNoise,
    Augmentations,
    CutMix,
    Cutout,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFlip(axis=1.0), "axis must be an integer, got 1.0"),
        (lambda: RandomFlip(axis=True), "axis must be an integer"),
        (lambda: RandomFlip(probability=1.5), r"probability must be in \[0, 1\], got 1.5"),
        (lambda: RandomCrop(0), "size must be an integer of at least 1.*got 0"),
        (lambda: RandomCrop((3, 2, 1)), r"size must be.*got \(3, 2, 1\)"),
        (lambda: RandomCrop((3, 2.5)), "size must be"),
        (lambda: RandomCrop(True), "size must be"),
        (lambda: RandomCrop("ab"), "size must be"),
        (lambda: RandomCrop(3, padding=-1), "padding must be an integer of at least 0"),
        (lambda: RandomShift(-1), "pixels must be an integer of at least 0"),
        (lambda: RandomRotation(200), r"degrees must be in \[0, 180\], got 200"),
        (lambda: RandomRotation(-1), "degrees must be"),
        (lambda: Cutout(0), "size must be an integer of at least 1"),
        (lambda: AddNoise(-0.1), r"std must be in \[0, inf\], got -0.1"),
        (lambda: Mixup(0), "alpha must be above 0 and finite, got 0"),
        (lambda: Mixup(float("nan")), "alpha must be"),
        (lambda: CutMix("1"), "alpha must be above 0 and finite, got '1'"),
    ],
)
def test_bad_configuration_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("step", [3, RandomFlip])
def test_steps_that_are_no_functions_are_refused(step):
    with pytest.raises(TypeError, match="Augmentations takes functions"):
        Augmentations(RandomFlip(), step)


@pytest.mark.parametrize(
    ("augment", "x", "error", "message"),
    [
        (RandomFlip(axis=2), np.ones((3, 3)), ValueError, "needs axis 2, got float64"),
        (RandomCrop(4), np.ones((3, 5)), ValueError, r"size \(4, 4\) and padding \(0, 0\)"),
        (RandomCrop(2), np.ones(3), ValueError, "RandomCrop takes an image"),
        (RandomShift(1), np.ones(3), ValueError, "RandomShift takes an image"),
        (RandomRotation(9), np.ones(3), ValueError, "RandomRotation takes an image"),
        (RandomRotation(9), np.ones((3, 3), int), TypeError, "floating-point"),
        (Cutout(2), np.ones(3), ValueError, "Cutout takes an image"),
        (Cutout(2), np.ones((0, 3)), ValueError, r"Cutout takes an image.*float64\[0,3\]"),
        (AddNoise(1.0), np.ones(3, int), TypeError, "AddNoise takes floating-point"),
    ],
)
def test_examples_that_do_not_fit_are_refused(augment, x, error, message):
    with pytest.raises(error, match=message):
        augment(key(), x)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.ones((4, 3, 3)), np.ones((3, 2)), ValueError, "as many examples"),
        (np.ones((4, 3, 3), int), np.ones((4, 2)), TypeError, "x of .* floating-point"),
        (np.ones((4, 3, 3)), np.ones(4, int), TypeError, "y of .* floating-point"),
    ],
)
@pytest.mark.parametrize("make", [lambda: Mixup(0.4), lambda: CutMix(1.0)])
def test_batches_that_do_not_fit_are_refused(make, x, y, error, message):
    with pytest.raises(error, match=message):
        make()(key(), x, y)


def test_cutmix_takes_images_only():
    with pytest.raises(ValueError, match=r"CutMix takes an image.*float32\[3\]"):
        CutMix(1.0)(key(), jnp.ones((4, 3)), jnp.ones((4, 2)))
