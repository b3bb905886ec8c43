"""Data sets: files are read as they are written, and damaged ones are refused."""

import gzip
import math
import struct
import sys
import tracemalloc

import jax
import numpy as np
import pytest
from contracts import key, over

from fnn.data import (
    blobs,
    cifar10,
    circles,
    digits,
    logic_gate,
    mnist,
    moons,
    noisy_sine,
    read_idx,
    spirals,
)

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """Write the IDX format, as its publishers describe it."""
    code = IDX_CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (0, 5), ()])
@pytest.mark.parametrize("dtype", IDX_CODES)
def test_idx_file_is_read_as_written(tmp_path, dtype, shape, compress):
    array = np.random.default_rng(0).uniform(0, 127, size=shape)
    array = np.asarray(array if dtype == "u1" else array - 60, dtype)
    path = tmp_path / "array"
    path.write_bytes(compress(idx_bytes(array)))
    read = read_idx(str(path))
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_idx_file_truncated_at_any_length_is_refused(tmp_path):
    content = idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))
    path = tmp_path / "array"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        reason = "not an IDX file" if length < 4 else "truncated"
        with pytest.raises(ValueError, match=f"array is {reason}"):
            read_idx(path)


def test_gzip_file_truncated_at_any_length_is_refused(tmp_path):
    content = gzip.compress(idx_bytes(np.arange(6, dtype=np.uint8)))
    path = tmp_path / "array.gz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"array.gz is (damaged|not an IDX file)"):
            read_idx(path)


def test_gzip_file_with_a_flipped_bit_is_refused_or_read_alike(tmp_path):
    array = np.arange(200, dtype=np.uint8)
    content = gzip.compress(idx_bytes(array), mtime=0)
    path = tmp_path / "array.gz"
    for i in range(10, len(content)):  # after the gzip header, not all of which matters
        path.write_bytes(content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :])
        with pytest.raises(ValueError, match=r"array.gz is damaged: gzip says"):
            read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it has 0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "not an IDX file: it begins with 0x89504e47"),
        (
            b"\x00\x00\x0a\x01" + bytes(4),
            r"not an IDX file: it begins with 0x00000a01.*a type from \['0x8'",
        ),
        (
            b"\x00\x01\x08\x01" + bytes(4),
            "not an IDX file: it begins with 0x00010801.*two zero bytes",
        ),
        (idx_bytes(np.zeros((2, 3), np.float32)) + b"!", "too long.*24 bytes, but 25"),
        (idx_bytes(np.zeros((2, 3), np.float32))[:-1], "truncated.*24 bytes, but 23"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "truncated.*but 0 follow"),
    ],
)
def test_file_that_is_no_idx_file_is_refused(tmp_path, content, message):
    path = tmp_path / "array"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"array is {message}"):
        read_idx(path)


def test_missing_idx_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


MNIST_NAMES = {
    "train-images-idx3-ubyte": np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2),
    "train-labels-idx1-ubyte": np.array([5, 0, 4], np.uint8),
    "t10k-images-idx3-ubyte": np.full((2, 2, 2), 255, np.uint8),
    "t10k-labels-idx1-ubyte": np.array([7, 2], np.uint8),
}


def write_mnist(folder, *, compressed=(), **replaced):
    for name, array in MNIST_NAMES.items():
        content = idx_bytes(replaced.get(name.split("-idx")[0].replace("-", "_"), array))
        if name in compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("compressed", [(), list(MNIST_NAMES)[:2], list(MNIST_NAMES)])
def test_mnist_files_compressed_or_not(tmp_path, compressed):
    write_mnist(tmp_path, compressed=compressed)
    (images, labels), (test_images, test_labels) = mnist(tmp_path)
    assert (images.shape, images.dtype) == ((3, 2, 2, 1), np.float32)
    np.testing.assert_allclose(images[1, :, :, 0] * 255, [[4, 5], [6, 7]], rtol=1e-6)
    assert (labels.tolist(), labels.dtype) == ([5, 0, 4], np.int32)
    np.testing.assert_array_equal(test_images, 1)
    assert test_labels.tolist() == [7, 2]


def test_mnist_takes_little_more_memory_than_its_images(tmp_path):
    many = {"images": np.zeros((500, 28, 28), "u1"), "labels": np.zeros(500, "u1")}
    write_mnist(tmp_path, **{f"train_{name}": array for name, array in many.items()})
    tracemalloc.start()
    try:
        (images, _), _ = mnist(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * images.nbytes


def test_the_real_mnist(mnist_folder):
    train, test = mnist(mnist_folder)
    assert train[0].shape == (60_000, 28, 28, 1)
    assert test[0].shape == (10_000, 28, 28, 1)
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(train[1]).tolist() == train_counts
    assert np.bincount(test[1]).tolist() == test_counts
    for images, _ in (train, test):
        assert (images.min(), images.max(), images.dtype) == (0, 1, np.float32)
    # The mean and deviation that are published with many programs for MNIST.
    assert train[0].mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert train[0].std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


def test_mnist_with_a_missing_file_names_it(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="neither t10k-labels-idx1-ubyte nor"):
        mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither train-images-idx3-ubyte nor"):
        mnist(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "replaced",
    [
        {"train_labels": np.zeros(2, np.uint8)},
        {"t10k_labels": np.zeros(3, np.uint8)},
        {"t10k_images": np.zeros((2, 4), np.uint8)},
        {"train_labels": np.zeros((3, 1), np.uint8)},
    ],
)
def test_mnist_images_and_labels_that_differ_are_refused(tmp_path, replaced):
    write_mnist(tmp_path, **replaced)
    with pytest.raises(ValueError, match="belong together: images of shape"):
        mnist(tmp_path)


def test_digits():
    images, labels = digits()
    assert (images.shape, images.dtype) == ((1797, 8, 8, 1), np.float32)
    assert (images.min(), images.max()) == (0, 1)
    assert (labels.shape, labels.dtype) == ((1797,), np.int32)
    assert np.bincount(labels).tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]


def test_digits_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'fnn\[data\]'"):
        digits()


CIFAR_NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def write_cifar(folder, records=2):
    """Write small files; return the images and labels in them."""
    rng, written = np.random.default_rng(0), {}
    for name in CIFAR_NAMES:
        images = rng.integers(0, 256, size=(records, 32, 32, 3), dtype=np.uint8)
        labels = rng.integers(0, 10, size=records, dtype=np.uint8)
        content = b""
        for image, label in zip(images, labels, strict=True):
            planes = [image[:, :, channel].tobytes() for channel in range(3)]
            content += bytes([label]) + b"".join(planes)
        (folder / name).write_bytes(content)
        written[name] = images, labels
    return written


def test_cifar10_is_read_as_written(tmp_path):
    written = write_cifar(tmp_path)
    train, test = cifar10(str(tmp_path))
    expected = zip(*(written[name] for name in CIFAR_NAMES[:5]), strict=True)
    for read, parts in zip(train, expected, strict=True):
        expected = np.concatenate(parts)
        scale = 255 if expected.ndim == 4 else 1
        np.testing.assert_allclose(read, expected / scale, rtol=1e-6)
    np.testing.assert_allclose(test[0], written["test_batch.bin"][0] / 255, rtol=1e-6)
    np.testing.assert_array_equal(test[1], written["test_batch.bin"][1])
    assert train[0].shape == (10, 32, 32, 3)
    assert train[0].flags.c_contiguous
    assert (train[0].dtype, train[1].dtype) == (np.float32, np.int32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, which are not a whole number of records of 3073"),
        (bytes(3072), "has 3072 bytes"),
        (bytes(3074), "has 3074 bytes"),
        (bytes(3073) + b"\x0a" + bytes(3072), "not a file of CIFAR-10: .* label 10"),
    ],
)
@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
def test_damaged_cifar10_is_refused(tmp_path, name, content, message):
    write_cifar(tmp_path, records=1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is .*{message}"):
        cifar10(tmp_path)


def test_cifar10_with_a_missing_file_names_it(tmp_path):
    write_cifar(tmp_path, records=1)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_4.bin is not in .*cifar-10"):
        cifar10(tmp_path)


def test_truth_tables():
    """AND, OR and XOR of the course."""
    for name, gate in {
        "and": lambda a, b: a and b,
        "or": lambda a, b: a or b,
        "xor": lambda a, b: a != b,
    }.items():
        x, y = logic_gate(name)
        assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
        assert y.tolist() == [int(gate(bool(a), bool(b))) for a, b in x]
        assert (x.dtype, y.dtype) == (np.float32, np.int32)


def test_unknown_gate_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of \('and', 'or', 'xor'\)"):
        logic_gate("nor")


TOYS = {"circles": circles, "moons": moons, "spirals": spirals, "blobs": blobs}
ALL_TOYS = TOYS | {"noisy_sine": noisy_sine}


@over(TOYS, "toy")
def test_classes_are_balanced(toy):
    x, y = toy(100, key=key())
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((100, 2), np.float32, (100,), np.int32)
    counts = np.bincount(y)
    assert counts.max() - counts.min() <= 1
    assert np.isfinite(x).all()


@over(ALL_TOYS, "toy")
def test_toys_follow_the_key_alone(toy):
    x, y = toy(20, key=key(1))
    with jax.enable_x64(True):
        for again, first in zip(toy(20, key=key(1)), (x, y), strict=True):
            np.testing.assert_array_equal(again, first)
            assert again.dtype == first.dtype
    assert not np.array_equal(toy(20, key=key(2))[0], x)


@over(ALL_TOYS, "toy")
def test_noise_has_its_standard_deviation(toy):
    clean, noisy = toy(4000, key=key(3), noise=0.0), toy(4000, key=key(3), noise=0.3)
    i = int(toy is noisy_sine)
    noise = noisy[i] - clean[i]
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    assert abs(noise.mean()) < 0.02
    np.testing.assert_allclose(noisy[1 - i], clean[1 - i])


def test_circles_have_their_radii():
    x, y = circles(500, key=key(), noise=0.0, ratio=0.3)
    radii = np.hypot(x[:, 0], x[:, 1])
    np.testing.assert_allclose(radii, np.where(y == 0, 1, 0.3), rtol=1e-5)
    quadrant = (x[:, 0] > 0) * 2 + (x[:, 1] > 0)
    assert np.bincount(quadrant).min() > 80


def test_moons_lie_on_two_half_circles():
    x, y = moons(500, key=key(), noise=0.0)
    centre = np.where(y[:, None] == 0, [0, 0], [1, 0.5])
    np.testing.assert_allclose(np.hypot(*(x - centre).T), 1, rtol=1e-5)
    assert (x[y == 0, 1] >= -1e-6).all()
    assert (x[y == 1, 1] <= 0.5 + 1e-6).all()


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_spirals_unwind_to_rays(classes):
    """Turned back by what the spiral has turned at its radius, an arm is straight."""
    x, y = spirals(400, key=key(), classes=classes, noise=0.0, turns=1.5)
    point = x[:, 0] + 1j * x[:, 1]
    radius = abs(point)
    assert radius.max() <= 1 + 1e-6
    ray = point * np.exp(-2j * math.pi * 1.5 * radius)
    expected = radius * np.exp(2j * math.pi * y / classes)
    np.testing.assert_allclose(ray, expected, atol=1e-5)
    assert y.max() == classes - 1


def test_blobs_have_their_centres():
    x, y = blobs(6000, key=key(), classes=4, noise=0.2)
    means = [x[y == c].mean(0) for c in range(4)]
    np.testing.assert_allclose(means, [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=0.03)


def test_noisy_sine_is_a_sine():
    x, y = noisy_sine(500, key=key(), noise=0.0)
    assert (x.shape, y.shape, y.dtype) == ((500, 1), (500,), np.float32)
    assert 0 <= x.min() < 0.02
    assert 0.98 < x.max() <= 1
    np.testing.assert_allclose(y, np.sin(2 * np.pi * np.float64(x[:, 0])), atol=1e-6)


@over(ALL_TOYS, "toy")
def test_toys_refuse(toy):
    for examples in (0, -3, 2.5):
        with pytest.raises(ValueError, match="examples must be a positive integer"):
            toy(examples, key=key())
    for noise in (-0.1, math.nan):
        with pytest.raises(ValueError, match=r"noise must be in \[0, inf\]"):
            toy(5, key=key(), noise=noise)
    with pytest.raises(TypeError, match="typed key"):
        toy(5, key=jax.random.PRNGKey(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: circles(5, key=key(), ratio=1.5), r"ratio must be in \[0, 1\], got 1.5"),
        (lambda: spirals(5, key=key(), turns=-1), "turns must be in"),
        (lambda: spirals(5, key=key(), classes=0), "classes must be a positive integer"),
        (lambda: blobs(5, key=key(), classes=2.0), "classes must be a positive integer"),
    ],
)
def test_toys_refuse_their_own_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
