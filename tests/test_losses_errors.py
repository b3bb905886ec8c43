"""Losses refuse what they can't be computed of, and say why."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses


@pytest.mark.parametrize(
    ("loss", "label"),
    [
        (losses.softmax_cross_entropy, 3),
        (losses.softmax_cross_entropy, -1),
        (functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1), 3),
        (functools.partial(losses.softmax_cross_entropy, class_weights=(1, 1, 1)), 3),
        (losses.nll, 3),
        (losses.multiclass_hinge, 3),
        (losses.misclassification, -1),
        (losses.hinge, 0),
        (losses.logistic, 2),
    ],
)
def test_label_out_of_range_raises_or_is_nan_where_it_cannot_be_seen(loss, label):
    z = jnp.zeros(1) if loss in (losses.hinge, losses.logistic) else jnp.zeros(3)
    with pytest.raises(ValueError, match=rf"must be .*, got {label}"):
        loss(z, label)
    assert np.isnan(jax.jit(loss)(z, label))


def test_labels_of_any_kind_are_taken():
    z = jnp.zeros(300)
    for dtype in (np.int8, np.uint8, np.int64, np.uint32):
        assert losses.softmax_cross_entropy(z, dtype(7)) > 0
    assert losses.softmax_cross_entropy(jnp.ones(2), [0.5, 0.5]) > 0
    assert losses.binary_cross_entropy(jnp.ones(2), [True, False]) > 0
    assert losses.binary_cross_entropy(jnp.ones(1, jnp.bfloat16), np.float64(0.3)) > 0
    assert losses.squared_error(np.ones(2), [0, 0]) == 2


# Errors


@pytest.mark.parametrize(
    "loss",
    [
        losses.squared_error,
        losses.half_squared_error,
        losses.mean_squared_error,
        losses.absolute_error,
        losses.mean_absolute_error,
        losses.huber,
        losses.log_cosh,
        functools.partial(losses.quantile, level=0.5),
        losses.poisson_nll,
        losses.cosine_distance,
        losses.hinge,
        losses.logistic,
        losses.binary_cross_entropy,
        losses.binary_focal,
    ],
)
def test_output_and_target_of_unlike_shapes_are_refused(loss):
    name = getattr(loss, "func", loss).__name__
    with pytest.raises(ValueError, match=rf"{name} takes.*float32\[2\] and .*\[3\]"):
        loss(jnp.zeros(2), jnp.ones(3))
    with pytest.raises(TypeError, match=rf"{name} takes floating-point.*int32\[2\]"):
        loss(jnp.zeros(2, jnp.int32), jnp.ones(2))


@pytest.mark.parametrize(
    "loss",
    [
        losses.softmax_cross_entropy,
        losses.nll,
        losses.kl_divergence,
        losses.misclassification,
        losses.multiclass_hinge,
    ],
)
def test_batches_of_logits_are_refused(loss):
    with pytest.raises(ValueError, match=rf"jax\.vmap\({loss.__name__}\)"):
        loss(jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32))
    with pytest.raises(TypeError, match="floating-point"):
        loss(jnp.zeros(3, jnp.int32), 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda z: losses.softmax_cross_entropy(z, 1.0), TypeError, "integer class"),
        (lambda z: losses.nll(z, 1.0), TypeError, "nll takes an integer class"),
        (lambda z: losses.misclassification(z, 1.0), TypeError, "integer class"),
        (lambda z: losses.multiclass_hinge(z, [1, 0, 0]), TypeError, r"int32\[3\]"),
        (lambda z: losses.kl_divergence(z, 1), TypeError, "takes a distribution"),
        (lambda z: losses.softmax_cross_entropy(z, [1, 0]), ValueError, "one shape"),
        (
            lambda z: losses.softmax_cross_entropy(z, [1, 1, 0]),
            ValueError,
            "sum to 1, got 2",
        ),
        (lambda z: losses.softmax_cross_entropy(z, [2, -1, 0]), ValueError, "from 0 to 1"),
        (lambda z: losses.softmax_cross_entropy(z, 1, 1.5), ValueError, "label_smoothing"),
        (
            lambda z: losses.softmax_cross_entropy(z, 1, class_weights=(1.0, 2.0)),
            ValueError,
            r"class_weights must be a number for each of 3 classes, got \(1.0, 2.0\)",
        ),
        (
            lambda z: losses.softmax_cross_entropy(z, 1, class_weights=(1.0, 2.0, -1.0)),
            ValueError,
            "class_weights must be at least 0, got -1.0 to 2.0",
        ),
        (lambda z: losses.binary_cross_entropy(z, [0, 1, 2]), ValueError, "got 0 to 2"),
        (lambda z: losses.binary_focal(z, [0, 1, 2]), ValueError, "from 0 to 1"),
        (lambda z: losses.binary_focal(z, [0, 1, 1], gamma=-1.0), ValueError, "gamma"),
        (lambda z: losses.binary_focal(z, [0, 1, 1], alpha=2.0), ValueError, "alpha"),
        (lambda z: losses.hinge(z, [0, 1, 1]), ValueError, r"give 2 \* labels - 1"),
        (lambda z: losses.huber(z, z, delta=0.0), ValueError, "delta must be above 0"),
        (lambda z: losses.huber(z, z, delta=-1.0), ValueError, "delta"),
        (lambda z: losses.quantile(z, z, level=90), ValueError, "level"),
        (
            lambda z: losses.poisson_nll(z, [1, 2, -1]),
            ValueError,
            "at least 0, got -1 to 2",
        ),
        (lambda z: losses.gaussian_nll(z, 1.0), ValueError, r"pair.*float32\[3\]"),
        (lambda z: losses.gaussian_nll(z[0], 1.0), ValueError, r"pair.*float32\[\]"),
        (lambda z: losses.gaussian_nll((z, z[:2]), z), ValueError, "one shape"),
        (lambda z: losses.squared_error((z, z), z), TypeError, "takes an array"),
    ],
)
def test_bad_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.zeros(3))


def test_booleans_are_taken_for_zero_and_one_and_refused_as_classes():
    z, t = jnp.array([1.0, -2.0]), np.array([True, False])
    expected = losses.binary_cross_entropy(z, t.astype(np.float32))
    assert losses.binary_cross_entropy(z, t) == expected
    assert jax.jit(losses.binary_cross_entropy)(z, t) == expected
    for loss in (losses.softmax_cross_entropy, losses.nll, losses.misclassification):
        for call in (loss, jax.jit(loss)):
            with pytest.raises(
                TypeError, match=r"a boolean; give labels.astype\('int32'\)"
            ):
                call(z, np.bool_(True))
    for loss in (losses.hinge, losses.logistic):
        for call in (loss, jax.jit(loss)):
            with pytest.raises(TypeError, match="got booleans; give 2"):
                call(z, t)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint32, np.uint64])
def test_no_label_wraps_to_a_class(dtype, x64):
    """A cast to int32 makes 0 of 2³²; 300 classes are more than int8 can name."""
    z, limits = jnp.zeros(300), np.iinfo(dtype)
    loss = jax.jit(losses.softmax_cross_entropy)
    np.testing.assert_allclose(loss(z, dtype(7)), np.log(300))
    beyond = {2**8, 2**16, 2**31, 2**32, 2**32 + 1, -1, -(2**32), limits.max, limits.min}
    for label in beyond:
        if limits.min <= label <= limits.max and not 0 <= label < 300:
            assert np.isnan(loss(z, dtype(label))), label
