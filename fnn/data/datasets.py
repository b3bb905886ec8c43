"""Data sets by name, as NumPy arrays; images are (height, width, channels), 0 to 1."""

from pathlib import Path
from typing import TypeAlias

import numpy as np

from fnn.data.idx import read_idx
from fnn.types import NDArray

Examples: TypeAlias = tuple[NDArray, NDArray]

MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR10_RECORD = 1 + 3 * 32 * 32


def digits() -> Examples:
    """Return scikit-learn's handwritten digits: 1,797 images of 8x8 pixels.

    Source: Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits" (UCI),
    the test part, bundled with scikit-learn; needs the extra `data`.

    Returns:
        Images, (1797, 8, 8, 1), float32, 0 to 1; and labels, (1797,), int32, 0 to 9.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> images, labels = fnn.data.digits()
        >>> images.shape, labels.shape
        ((1797, 8, 8, 1), (1797,))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "fnn.data.digits needs scikit-learn: pip install 'fnn[data]'"
        ) from error
    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[..., None]
    return images, bunch.target.astype(np.int32)


def mnist(folder: str | Path) -> tuple[Examples, Examples]:
    """Read MNIST from a folder with its four files, compressed by gzip or not.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".

    Args:
        folder: The folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, or these with `.gz`.

    Returns:
        `(train, test)`, each a pair of images, (60000 or 10000, 28, 28, 1), float32, 0 to
        1, and labels, int32, 0 to 9.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or images and labels differ in number.

    Example:
        >>> import os
        >>> folder = os.environ.get("FNN_DATA", "../shared/data")
        >>> if os.path.isdir(f"{folder}/mnist"):
        ...     train, test = fnn.data.mnist(f"{folder}/mnist")
        ...     assert train[0].shape == (60000, 28, 28, 1)
    """
    train, test = (_read_pair(Path(folder), *names) for names in MNIST_FILES.values())
    return train, test


def cifar10(folder: str | Path) -> tuple[Examples, Examples]:
    """Read CIFAR-10 from a folder with the six files of its binary version.

    A record is a byte for the label, then the red, the green and the blue plane of
    32x32 bytes each, row by row.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".

    Args:
        folder: `cifar-10-batches-bin`, unpacked from `cifar-10-binary.tar.gz`, with
            `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.

    Returns:
        `(train, test)`, each a pair of images, (50000 or 10000, 32, 32, 3), float32, 0 to
        1, and labels, int32, 0 to 9.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is empty, does not consist of whole records, or has a label
            above 9.

    Example:
        >>> import pathlib, tempfile
        >>> record = bytes([7]) + bytes(3 * 32 * 32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        ...         _ = pathlib.Path(folder, f"{name}.bin").write_bytes(record)
        ...     train, test = fnn.data.cifar10(folder)
        >>> train[0].shape, test[1].tolist()
        ((5, 32, 32, 3), [7])
    """
    train, test = (_read_cifar10(Path(folder), names) for names in CIFAR10_FILES.values())
    return train, test


def _read_cifar10(folder: Path, names: tuple[str, ...]) -> Examples:
    records = np.concatenate([_records(folder / name) for name in names])
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return images / np.float32(255), records[:, 0].astype(np.int32)


def _records(path: Path) -> NDArray:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} is not in {path.parent}; give the folder cifar-10-batches-bin "
            f"from cifar-10-binary.tar.gz"
        )
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % CIFAR10_RECORD:
        raise ValueError(
            f"{path} is damaged: it has {content.size} bytes, which are not a whole number "
            f"of records of {CIFAR10_RECORD} bytes"
        )
    records = content.reshape(-1, CIFAR10_RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(
            f"{path} is not a file of CIFAR-10: it has the label {records[:, 0].max()}"
        )
    return records


def _read_pair(folder: Path, images_name: str, labels_name: str) -> Examples:
    images = read_idx(_find(folder, images_name))
    labels = read_idx(_find(folder, labels_name))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{images_name} and {labels_name} in {folder} don't belong together: images "
            f"of shape {images.shape}, labels of shape {labels.shape}"
        )
    pixels = np.divide(images[..., None], 255, dtype=np.float32)
    return pixels, labels.astype(np.int32)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"neither {name} nor {name}.gz is in {folder}")
