"""Mixing: the examples and labels of a batch, each with those of another."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key, over
from contracts.augmentation import BATCH, MIXERS

import fnn
from fnn.data import (
    BatchAugmentation,
    BatchAugmentations,
    CutMix,
    Mixup,
    RandomFlip,
    one_hot,
)


def mixtures(mixer, x, count):
    """Return mixed batches and what their labels were made of: shares and partners."""
    n, seeds = len(x), np.arange(count)
    mix = jax.jit(jax.vmap(lambda k: mixer(k, x, jnp.eye(n))))
    mixed, y = jax.tree.map(np.asarray, mix(jax.vmap(key)(seeds)))
    eager = mixer(key(0), x, jnp.eye(n))
    chex.assert_trees_all_close((mixed[0], y[0]), eager, rtol=1e-5, atol=1e-5)
    own = y[:, np.arange(n), np.arange(n)]
    partner = np.where(np.eye(n, dtype=bool), 0, y).argmax(-1)
    partner = np.where(own == 1, np.arange(n), partner)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-6)
    return mixed, own, partner


def test_mixup_mixes_by_a_beta_share_with_a_permutation():
    """Beta(α, α) has mean 1/2 and variance 1 / (4 (2 α + 1))."""
    alpha = 0.4
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    mixed, own, partner = mixtures(Mixup(alpha), x, 2000)
    np.testing.assert_array_equal(np.sort(partner), np.tile(np.arange(4), (2000, 1)))
    expected = own[..., None] * x + (1 - own[..., None]) * x[partner]
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    moved = own < 1
    shares = own.min(1)[moved.any(1)]
    assert (np.where(moved, own, own.min(1, keepdims=True)) == own.min(1)[:, None]).all()
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_cutmix_pastes_a_box_and_mixes_labels_by_its_area():
    x = np.random.default_rng(0).normal(size=(4, 20, 20, 1)).astype(np.float32)
    mixed, own, partner = mixtures(CutMix(1.0), x, 200)
    whole = 0
    for image, share, order in zip(mixed, own, partner, strict=True):
        pasted = (image != x).any(-1)
        if not pasted.any():
            continue
        box = pasted.any(0)
        np.testing.assert_array_equal(image, np.where(box[..., None], x[order], x))
        np.testing.assert_allclose(share[order != np.arange(4)], 1 - box.mean(), atol=1e-6)
        height, width = box.any(1).sum(), box.any(0).sum()
        assert box.sum() == height * width
        if not (box[[0, -1]].any() or box[:, [0, -1]].any()):
            assert height == width  # as those of the image are
            whole += 1
    assert whole > 20


class Swap(BatchAugmentation):
    """Exchange the inputs and the targets of a batch of two, each by itself."""

    def __call__(self, key, x, y):
        return x[::-1], y[::-1] + 1


def test_batch_augmentation_sees_inputs_and_targets_in_training():
    model, loss = fnn.Dense(1, bias=False), fnn.losses.squared_error
    params, x, y = {"kernel": jnp.ones((1, 1))}, jnp.array([[1.0], [4.0]]), jnp.ones(2)
    negated = BatchAugmentations(lambda key, x: -x, Swap())
    for augment, outputs in ((Swap(), (4, 1)), (negated, (-4, -1))):
        objective = fnn.supervised(model, loss, augment=augment)
        value, _ = objective(params, {}, (x, y), key())
        assert value == sum((output - 2) ** 2 for output in outputs) / 2


def test_mixup_trains_in_fit():
    x, labels = example((12, 6, 5, 1)), one_hot(np.arange(12) % 2, 2)
    _, _, history = fnn.fit(
        fnn.Sequential(fnn.Flatten(), fnn.Dense(2)),
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.SGD(0.1),
        (x, labels),
        key=key(),
        epochs=2,
        batch_size=4,
        augment=BatchAugmentations(RandomFlip(), Mixup(0.2), CutMix(1.0)),
        metrics={"accuracy": fnn.metrics.accuracy},
        progress=False,
    )
    assert np.isfinite(history["loss"]).all()


def test_mixing_has_no_per_example_gradients():
    objective = fnn.supervised(fnn.Dense(1), fnn.losses.squared_error, augment=Mixup(0.2))
    clip = functools.partial(fnn.per_example.clipped_gradient, max_norm=1.0)
    batch = jnp.ones((2, 1)), jnp.ones((2, 1))
    params, state = objective.model.init(key(), batch[0][0])
    with pytest.raises(ValueError, match="mixes those of a batch"):
        objective.per_example_gradient(clip, params, state, batch, key())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@over(MIXERS, "make")
def test_mixing_keeps_dtypes_and_shapes(make, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, y = (jnp.asarray(a, dtype) for a in BATCH)
        for labels in (y, jnp.asarray(y, "float32")):
            mixed = jax.eval_shape(make(), key(), x, labels)
            chex.assert_trees_all_equal_shapes_and_dtypes(mixed, (x, labels))


@pytest.mark.parametrize(
    "augment",
    [
        fnn.data.Mixup(1.0),
        fnn.data.CutMix(1.0),
        fnn.data.BatchAugmentations(fnn.data.RandomFlip(), fnn.data.Mixup(1.0)),
    ],
)
def test_examples_of_weight_0_are_mixed_into_nothing(augment):
    """Examples of weight 0 are 1e6; the sum over a mixture reveals them."""
    keep = np.array([1, 0, 1, 0, 0, 1, 0, 0], np.float32)
    x = np.where(keep[:, None, None, None] > 0, 1.0, 1e6) * np.ones((8, 4, 4, 1))
    y = np.where(keep[:, None] > 0, 0.5, 1e6) * np.ones((8, 2))
    batch = x.astype("float32"), y.astype("float32"), keep
    loss = lambda output, target: jnp.maximum(output.max(), target.max())  # noqa: E731
    objective = fnn.supervised(fnn.Sequential(jnp.positive), loss, augment=augment)
    for seed in range(5):
        value, _ = objective({}, {}, batch, jax.random.key(seed))
        assert float(value) == pytest.approx(1.0, rel=1e-6)
