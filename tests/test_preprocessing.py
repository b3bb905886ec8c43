"""Preprocessing: what the formulas say, fitted on training data only, and undone."""

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import fnn
from fnn.data import Center, MinMax, Standardize, UnitLength, one_hot

RNG = np.random.default_rng(0)
ROWS = RNG.normal(3, 5, size=(50, 4))
IMAGES = RNG.uniform(size=(20, 5, 6, 3))


def standardized(x, axis):
    mean = np.mean(x, axis, keepdims=True)
    return (x - mean) / np.sqrt(np.mean((x - mean) ** 2, axis, keepdims=True))


def centered(x, axis):
    return x - np.sum(x, axis, keepdims=True) * (x.mean(axis).size / x.size)


def min_max(x, axis):
    low, high = np.min(x, axis, keepdims=True), np.max(x, axis, keepdims=True)
    return (x - low) / (high - low)


FITTED = {Standardize: standardized, Center: centered, MinMax: min_max}
CASES = [(ROWS, 0), (ROWS, (0, 1)), (IMAGES, 0), (IMAGES, (0, 1, 2)), (IMAGES, (-4, 1))]
kinds = pytest.mark.parametrize("kind", FITTED)


@kinds
@pytest.mark.parametrize(("x", "axis"), CASES)
def test_fitted_agrees_with_formula_and_inverts(kind, x, axis, x64):
    value = kind.fit(x, axis)
    z = value(x)
    assert isinstance(z, np.ndarray)
    np.testing.assert_allclose(z, FITTED[kind](x, axis), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(value.inverse(z), x, rtol=1e-12, atol=1e-12)
    on_device = jax.jit(value)(jnp.asarray(x))
    np.testing.assert_allclose(on_device, z, rtol=1e-12, atol=1e-12)


def test_the_normalizations_of_the_course():
    """Subtract the mean image, the mean of each channel, and divide by its deviation."""
    alexnet = Center.fit(IMAGES)(IMAGES)
    np.testing.assert_allclose(alexnet.mean(0), np.zeros((5, 6, 3)), atol=1e-7)
    vgg = Center.fit(IMAGES, axis=(0, 1, 2))(IMAGES)
    np.testing.assert_allclose(vgg.mean((0, 1, 2)), np.zeros(3), atol=1e-7)
    assert abs(vgg.mean(0)).max() > 1e-3
    resnet = Standardize.fit(IMAGES, axis=(0, 1, 2))(IMAGES)
    np.testing.assert_allclose(resnet.mean((0, 1, 2)), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(resnet.std((0, 1, 2)), np.ones(3), atol=1e-6)


@kinds
def test_fitted_uses_training_data_only(kind):
    train, test = ROWS[:30], ROWS[30:]
    value = kind.fit(train)
    moved = value(test + 100.0)
    np.testing.assert_allclose(value.inverse(moved), test + 100.0, rtol=1e-6)
    assert moved.mean() > 5
    assert value == kind.fit(train)
    assert value != kind.fit(ROWS)


@kinds
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, -3.7])
@pytest.mark.parametrize("examples", [1, 3, 1000])
def test_constant_features_become_zero_and_come_back(kind, constant, examples, x64):
    x = np.full((examples, 2), constant)
    value = kind.fit(x)
    # Rounding of the mean of equal numbers is all that may be left.
    np.testing.assert_allclose(value(x), 0, atol=1e-12 * max(abs(constant), 1))
    np.testing.assert_allclose(value.inverse(value(x)), x)


@kinds
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_fitted_keeps_dtype(kind, dtype):
    x = jnp.asarray(ROWS, dtype)
    value = kind.fit(x)
    for z in (value(x), value.inverse(value(x)), value(np.asarray(x))):
        assert z.dtype.name == dtype
    wide = kind.fit(np.float32(ROWS))(x)
    assert wide.dtype.name == dtype
    expected = FITTED[kind](np.float64(x), 0)
    tolerance = 2 * float(jnp.finfo(dtype).eps) * abs(expected).max()
    np.testing.assert_allclose(np.float64(value(x)), expected, rtol=0, atol=tolerance)


@kinds
def test_fitted_takes_one_example_as_it_takes_many(kind):
    x = jnp.asarray(IMAGES, jnp.float32)
    value = kind.fit(x, (0, 1, 2))
    np.testing.assert_array_equal(value(x[3]), value(x)[3])
    np.testing.assert_array_equal(jax.vmap(value)(x), value(x))
    np.testing.assert_array_equal(jax.vmap(value.inverse)(x), value.inverse(x))


def test_fitted_stands_in_a_model():
    x = jnp.asarray(ROWS, jnp.float32)
    model = fnn.Sequential(Standardize.fit(x), fnn.Dense(3))
    params, _ = model.init(jax.random.key(0), x[0])
    outputs = fnn.batched(model)(params, x)
    dense = jax.tree.map(np.float64, params["dense_0"])
    expected = standardized(ROWS, 0) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    assert eval(repr(model), {"fnn": fnn, "jax": jax}) == model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "make",
    [lambda x: UnitLength(), *(kind.fit for kind in FITTED)],
    ids=["UnitLength", *(kind.__name__ for kind in FITTED)],
)
def test_value_prints_compares_hashes_and_pickles(make, dtype):
    value = make(jnp.asarray(ROWS, dtype))
    assert value == make(jnp.asarray(ROWS, dtype))
    assert hash(value) == hash(make(jnp.asarray(ROWS, dtype)))
    assert eval(repr(value), {"fnn": fnn, "jax": jax}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert value.replace() == value


@pytest.mark.parametrize("std", [[1.0, -1.0], [1.0, np.nan]])
def test_a_deviation_below_zero_is_refused(std):
    with pytest.raises(ValueError, match="std must not be negative, got"):
        Standardize(np.zeros(2), np.array(std))


def test_a_range_upside_down_is_refused():
    with pytest.raises(ValueError, match="low must not exceed high"):
        MinMax(np.array([0.0, 2.0]), np.ones(2))


@kinds
@pytest.mark.parametrize(
    ("x", "axis", "error", "message"),
    [
        (np.zeros((3, 2), np.uint8), 0, TypeError, r"floating-point.*uint8\[3,2\]"),
        (np.zeros((0, 2)), 0, ValueError, r"x of shape \(0, 2\) is empty"),
        (np.array([[1.0], [np.nan]]), 0, ValueError, "not finite"),
        (np.array([[1.0], [np.inf]]), 0, ValueError, "not finite"),
        (np.zeros((3, 2)), 1, ValueError, "axis must contain 0"),
        (np.zeros((3, 2)), (0, 2), ValueError, "axis 2 is out of bounds"),
        (np.zeros((3, 2)), (0, 0), ValueError, "repeated axis"),
    ],
)
def test_fit_refuses(kind, x, axis, error, message):
    with pytest.raises(error, match=message):
        kind.fit(x, axis)


@kinds
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((3, 5), np.float32), ValueError, r"\(1, 4\), which don't fit x float32"),
        (np.zeros((3, 1), np.float32), ValueError, r"\(1, 4\), which don't fit x float32"),
        (np.float32(1.0), ValueError, r"\(1, 4\), which don't fit x float32\[\]"),
        (np.zeros((3, 4), np.int32), TypeError, "floating-point numbers, got int32"),
        ([[1.0] * 4], TypeError, "takes an array"),
    ],
)
def test_fitted_refuses(kind, x, error, message):
    value = kind.fit(ROWS)
    for function in (value, value.inverse):
        with pytest.raises(error, match=f"{kind.__name__}.*{message}"):
            function(x)


floats = st.floats(-1e3, 1e3, width=32)


@given(x=arrays(np.float32, (3, 4), elements=floats))
def test_unit_length_divides_by_the_norm(x):
    z = UnitLength()(x)
    norms = np.sqrt((np.float64(x) ** 2).sum(1, keepdims=True))
    expected = np.where(norms > 0, x / np.where(norms > 0, norms, 1), 0)
    np.testing.assert_allclose(z, expected, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(UnitLength()(z), z, rtol=1e-6)


def test_unit_length_of_the_worked_vector_and_of_zero():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(UnitLength()(x), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-15)


def test_unit_length_over_images():
    z = UnitLength(axis=(-3, -2, -1))(IMAGES)
    np.testing.assert_allclose((z**2).sum((1, 2, 3)), np.ones(20), rtol=1e-12)
    np.testing.assert_allclose(UnitLength((0, 1, 2))(IMAGES[3]), z[3], rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        *itertools.product(["float32", "bfloat16"], [1e-30, 1.0, 1e30]),
        *itertools.product(["float16"], [1e-3, 1.0, 1e4]),
    ],
)
def test_unit_length_neither_overflows_nor_vanishes(dtype, scale):
    x = jnp.asarray([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], dtype) * jnp.asarray(scale, dtype)
    z = jax.jit(UnitLength())(x)
    assert z.dtype == x.dtype
    expected = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 0.0]])
    tolerance = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(z), expected, rtol=tolerance)


def test_unit_length_has_the_gradient_of_a_projection(x64):
    """The derivative of x / ‖x‖ is (I - z zᵀ) / ‖x‖; at 0 it is finite."""
    x = jnp.array([1.0, -2.0, 2.0])
    z = np.array([1.0, -2.0, 2.0]) / 3
    expected = (np.eye(3) - np.outer(z, z)) / 3
    np.testing.assert_allclose(jax.jit(jax.jacrev(UnitLength()))(x), expected, atol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(UnitLength()))(x), expected, atol=1e-12)
    assert np.isfinite(jax.jacrev(UnitLength())(jnp.zeros(3))).all()


@pytest.mark.parametrize(
    ("x", "axis", "error", "message"),
    [
        (np.zeros(3, int), -1, TypeError, "UnitLength takes floating-point numbers"),
        (np.zeros((3, 2)), 2, ValueError, "axis of UnitLength: axis 2 is out of bounds"),
    ],
)
def test_unit_length_refuses(x, axis, error, message):
    with pytest.raises(error, match=message):
        UnitLength(axis)(x)


@given(labels=arrays(np.int32, (3, 2), elements=st.integers(0, 4)))
def test_one_hot_has_one_at_the_label(labels):
    y = one_hot(labels, 5)
    assert (y.shape, y.dtype) == ((3, 2, 5), np.float32)
    np.testing.assert_array_equal(y.argmax(-1), labels)
    np.testing.assert_array_equal(y.sum(-1), 1)
    np.testing.assert_array_equal(np.unique(y), [0, 1])


def test_one_hot_of_one_label_and_of_none():
    np.testing.assert_array_equal(one_hot(2, 3), [0, 0, 1])
    assert one_hot(np.zeros(0, np.uint8), 3).shape == (0, 3)
    np.testing.assert_array_equal(one_hot(jnp.array([1, 0]), 2), [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        ([0, 3], 3, ValueError, "labels must be from 0 to 2 for 3 classes, got 0 to 3"),
        ([-1], 3, ValueError, "got -1 to -1"),
        ([0.0], 3, TypeError, r"labels must be integers, got float64\[1\]"),
        ([True], 3, TypeError, "labels must be integers"),
        ([0], 0, ValueError, "classes must be a positive integer, got 0"),
    ],
)
def test_one_hot_refuses(labels, classes, error, message):
    with pytest.raises(error, match=message):
        one_hot(labels, classes)


# Precision


@kinds
def test_what_is_fitted_on_float64_is_subtracted_in_float64(kind):
    """float32 knows numbers about 1.6e9 to the nearest 128."""
    x = 1.6e9 + 10 * np.random.default_rng(3).normal(size=(1000, 2))
    value = kind.fit(x)
    np.testing.assert_allclose(value(x), FITTED[kind](x, 0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(value.inverse(value(x)), x, rtol=1e-15)
    assert value(x).dtype == np.float64
    assert value(jnp.asarray(x, "float32")).dtype == jnp.float32
    assert eval(repr(value), {"fnn": fnn, "jax": jax}) == value
    assert pickle.loads(pickle.dumps(value)) == value


@kinds
@pytest.mark.parametrize(
    ("dtype", "large"),
    [("float16", 6e4), ("bfloat16", 3e38), ("float32", 3e38), ("float64", 1.7e308)],
)
def test_neither_ranges_nor_squares_overflow(kind, dtype, large):
    x = np.array([-large, large, large], dtype)[:, None]
    if kind is Center:  # the result itself is too large where a mean is not 0
        x = x[:2]
    value = kind.fit(x)
    mean = np.float64(0 if kind is Center else large / 3)
    std = large * (np.sqrt(8) / 3)
    expected = {
        Standardize: (x.astype(np.float64) / std - mean / std),
        Center: x.astype(np.float64),
        MinMax: np.array([[0.0], [1.0], [1.0]]),
    }[kind]
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(value(x)), expected, rtol=tolerance)
    np.testing.assert_allclose(
        np.float64(value.inverse(value(x))), np.float64(x), rtol=tolerance
    )
    if dtype != "float64":
        mapped = np.float64(jax.jit(value)(jnp.asarray(x)))
        np.testing.assert_allclose(mapped, expected, rtol=tolerance)


def test_tiny_deviations_do_not_vanish():
    """Their squares are below the smallest float64."""
    x = np.array([[1e-200], [3e-200]])
    np.testing.assert_allclose(Standardize.fit(x)(x), [[-1], [1]], rtol=1e-12)
