"""Augmentation: what may come out, how often, and the same however it is computed."""

import pickle

import contracts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key, over
from contracts.augmentation import AUGMENTATIONS, BATCH, IMAGE, MIXERS
from scipy import ndimage

import fnn
from fnn.data import (
    AddNoise,
    Augmentations,
    Cutout,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
)


def draws(augmentation, x, count=400, seed=0):
    """Return what an augmentation makes of one example, `count` times."""
    keys = jax.random.split(key(seed), count)
    return np.asarray(jax.jit(jax.vmap(augmentation, (0, None)))(keys, x))


@over(AUGMENTATIONS | MIXERS, "make")
def test_value_prints_compares_hashes_and_pickles(make):
    value = make()
    assert value == make()
    assert hash(value) == hash(make())
    names = {"fnn": fnn, "jax": jax, "contracts": contracts}
    assert eval(repr(value), names) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert value.replace() == value


@over(AUGMENTATIONS, "make")
def test_jit_and_vmap_are_the_eager_loop(make):
    """The same key gives the same, another one another; and nothing recompiles."""
    traces = []

    def apply(augment, keys):
        traces.append(augment)
        return jax.vmap(augment, (0, None))(keys, IMAGE)

    jitted = jax.jit(apply, static_argnums=0)
    seeds = np.array([1, 1, *range(2, 20)])
    for _ in range(2):
        rows = np.asarray(jitted(make(), jax.vmap(key)(seeds)))
    assert len(traces) == 1
    for i in range(4):
        expected = make()(key(seeds[i]), IMAGE)
        np.testing.assert_allclose(rows[i], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert len({row.tobytes() for row in rows}) > 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@over(AUGMENTATIONS, "make")
def test_dtype_and_shape_are_kept(make, dtype):
    with jax.enable_x64(dtype == "float64"):
        for shape in [(6, 5), (6, 5, 3)]:
            value, x = make(), example(shape, dtype)
            y = jax.eval_shape(value, key(3), x)
            assert y.dtype == x.dtype
            size = value.size if isinstance(value, RandomCrop) else shape[:2]
            assert y.shape == (*size, *shape[2:])


@over(AUGMENTATIONS | MIXERS, "make")
def test_keys_are_asked_for(make):
    arguments = BATCH if make in MIXERS.values() else (IMAGE,)
    with pytest.raises(ValueError, match="needs a key: pass key"):
        make()(None, *arguments)
    with pytest.raises(TypeError, match="needs a typed key"):
        make()(jax.random.PRNGKey(0), *arguments)


def test_augmentation_runs_in_training():
    x, y = example((8, 6, 5, 1)), jnp.arange(8, dtype=jnp.int32) % 2
    model = fnn.Sequential(fnn.Flatten(), fnn.Dense(2))
    augment = Augmentations(RandomCrop((6, 5), padding=1), RandomFlip(), Cutout(2))
    loss = fnn.losses.softmax_cross_entropy
    params, state = model.init(key(), x[0])
    plain, augmented = (
        jax.jit(fnn.supervised(model, loss, augment=a))(params, state, (x, y), key(1))[0]
        for a in (None, augment)
    )
    assert np.isfinite(augmented)
    assert augmented != plain


@pytest.mark.parametrize(
    "augment",
    [RandomFlip(), RandomCrop(3, padding=1), RandomShift(1), Cutout(2)],
    ids=lambda value: type(value).__name__,
)
def test_images_of_bytes_stay_bytes(augment):
    x = np.arange(30, dtype=np.uint8).reshape(6, 5) + 1
    y = augment(key(), x)
    assert y.dtype == np.uint8
    assert set(np.unique(y)) <= {0, *x.ravel().tolist()}


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_flip_gives_the_image_or_its_mirror(axis):
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    ys = draws(RandomFlip(axis, probability=0.25), x)
    flipped = np.array([np.array_equal(y, np.flip(x, axis)) for y in ys])
    assert all(f or np.array_equal(y, x) for f, y in zip(flipped, ys, strict=True))
    assert flipped.mean() == pytest.approx(0.25, abs=0.07)


def test_flip_is_certain_or_never():
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(RandomFlip(0, 1.0)(key(), x), [2, 1, 0])
    np.testing.assert_array_equal(RandomFlip(0, 0.0)(key(), x), [0, 1, 2])


def windows(x, size, padding):
    """Return all windows of the padded image."""
    (rows, columns), (height, width) = padding, size
    padded = np.pad(x, [(rows, rows), (columns, columns)])
    return [
        padded[i : i + height, j : j + width].tobytes()
        for i in range(padded.shape[0] - height + 1)
        for j in range(padded.shape[1] - width + 1)
    ]


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((2, 3), (0, 0)),
        ((4, 4), (1, 1)),
        ((4, 4), (0, 0)),
        ((3, 6), (0, 1)),
        ((1, 1), (0, 0)),
    ],
)
def test_crop_gives_every_window_equally_often(size, padding):
    x = np.arange(1.0, 17.0, dtype=np.float32).reshape(4, 4)
    ys = [y.tobytes() for y in draws(RandomCrop(size, padding), x, 1000)]
    expected = windows(x, size, padding)
    assert set(ys) == set(expected)
    counts = np.array([ys.count(window) for window in expected])
    np.testing.assert_allclose(counts, 1000 / len(counts), atol=4.5 * counts.mean() ** 0.5)


def test_shift_gives_every_shift_equally_often():
    x = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)
    ys = [y.tobytes() for y in draws(RandomShift((1, 2)), x, 1500)]
    expected = windows(x, (3, 4), (1, 2))
    assert x.tobytes() in expected
    counts = np.array([ys.count(window) for window in expected])
    assert counts.sum() == 1500
    np.testing.assert_allclose(counts, 100, atol=45)


def test_no_shift_and_the_whole_crop_change_nothing():
    np.testing.assert_array_equal(RandomShift(0)(key(), IMAGE), IMAGE)
    np.testing.assert_array_equal(RandomCrop((6, 5))(key(), IMAGE), IMAGE)


def angle_of(augment, k, shape):
    """Find the angle by rotating ramps, which interpolation leaves exact inside."""
    row, column = np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2
    middle = tuple(n // 2 + 1 for n in shape)
    ramps = jnp.asarray(np.stack([row, column], axis=-1))
    turned = np.asarray(augment(k, ramps))[middle]
    here = complex(column[middle], -row[middle])
    return np.angle(here / complex(turned[1], -turned[0]))


@pytest.mark.parametrize(("shape", "degrees"), [((9, 9), 20), ((8, 11), 180)])
def test_rotation_agrees_with_interpolation_in_scipy(shape, degrees, x64):
    augment, x = (
        jax.jit(RandomRotation(degrees)),
        np.asarray(example((*shape, 2), "float64")),
    )
    middle = (np.array(shape)[:, None, None] - 1) / 2
    for seed in range(5):
        angle = angle_of(augment, key(seed), shape)
        assert abs(angle) <= np.radians(degrees)
        row, column = np.indices(shape) - middle
        cos, sin = np.cos(angle), np.sin(angle)
        places = np.stack([cos * row + sin * column, cos * column - sin * row]) + middle
        turned = np.asarray(augment(key(seed), jnp.asarray(x)))
        for channel in range(2):
            expected = ndimage.map_coordinates(
                x[..., channel], places, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(turned[..., channel], expected, atol=1e-10)


def test_rotation_by_no_angle_changes_nothing():
    np.testing.assert_array_equal(RandomRotation(0)(key(), IMAGE), IMAGE)


def test_rotation_turns_counter_clockwise_and_evenly():
    """A dot on the right moves up by a positive angle."""
    x = np.zeros((21, 21), np.float32)
    x[9:12, 17:20] = 1
    rows, columns = np.indices(x.shape) - 10
    turned = draws(RandomRotation(90.0), x, 500)
    right = np.sum(turned * columns, axis=(1, 2))
    up = np.sum(turned * -rows, axis=(1, 2))
    angles = np.degrees(np.arctan2(up, right))
    assert -91 < angles.min() < -85
    assert 85 < angles.max() < 91
    assert np.histogram(angles, 5, (-91, 91))[0].min() > 60
    np.testing.assert_allclose(np.hypot(up, right), 8 * 9, rtol=0.05)


def test_rotation_has_a_gradient_in_both_modes(x64):
    x = example((5, 4), "float64")

    def turn(x):
        return RandomRotation(40.0)(key(1), x)

    jacobian = jax.jit(jax.jacrev(turn))(x)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(turn))(x), jacobian, atol=1e-12)
    np.testing.assert_allclose(
        np.tensordot(jacobian, np.asarray(x)), turn(x), atol=1e-12
    )  # it is linear


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (9, 1)])
def test_cutout_cuts_a_rectangle_around_any_pixel(size):
    ys = draws(Cutout(size), np.ones((5, 6), np.float32), 600)
    expected = set()
    for i in range(5):
        for j in range(6):
            hole = np.ones((5, 6), np.float32)
            top, left = i - size[0] // 2, j - size[1] // 2
            hole[max(top, 0) : top + size[0], max(left, 0) : left + size[1]] = 0
            expected.add(hole.tobytes())
    assert {y.tobytes() for y in ys} == expected


def test_noise_is_normal_and_new_for_every_element():
    noise = draws(AddNoise(0.3), np.full((10, 10), 5.0, np.float32), 100) - 5.0
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean()) < 0.01
    flat = noise.reshape(100, 100)
    assert abs(np.corrcoef(flat) - np.eye(100)).max() < 0.5
    np.testing.assert_array_equal(AddNoise(0.0)(key(), IMAGE), IMAGE)


def test_augmentations_apply_their_steps_in_order():
    def double(key, x):
        return 2 * x

    def increment(key, x):
        return x + 1

    x = jnp.arange(3.0)
    np.testing.assert_array_equal(Augmentations(double, increment)(key(), x), [1, 3, 5])
    np.testing.assert_array_equal(Augmentations(increment, double)(key(), x), [2, 4, 6])
    np.testing.assert_array_equal(Augmentations()(key(), x), x)


def test_augmentations_give_every_step_a_key_of_its_own():
    zeros = jnp.zeros(1000)
    once = np.asarray(Augmentations(AddNoise(1.0))(key(), zeros))
    twice = np.asarray(Augmentations(AddNoise(1.0), AddNoise(1.0))(key(), zeros))
    assert once.std() == pytest.approx(1, abs=0.1)
    assert twice.std() == pytest.approx(2**0.5, abs=0.15)
