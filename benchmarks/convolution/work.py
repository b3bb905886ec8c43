"""What the name of a case says, and its data."""

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CASE = re.compile(
    r"\((?P<shape>[^)]*)\), (?P<size>\d+)x\d+ "
    r"(?:to (?P<features>\d+)|(?P<pool>max|mean) pool)"
    r"(?:, (?P<groups>\d+) groups)?(?:, stride (?P<stride>\d+))?(?P<loop>, in a loop)?"
)
REPEATS, RATE = 4, 1e-3  # of steps down the gradient, in a loop


class Work(NamedTuple):
    """A convolution that keeps the size of images, or a pool without padding."""

    shape: tuple[int, ...]
    size: int
    features: int
    groups: int
    pool: str
    stride: int
    loop: bool

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """(height, width, inputs of a group, features)."""
        return self.size, self.size, self.shape[-1] // self.groups, self.features


def parse(case: str) -> Work:
    """Return what the name of a case says."""
    found = CASE.fullmatch(case)
    assert found is not None, case
    pool, size = found["pool"] or "", int(found["size"])
    return Work(
        tuple(map(int, found["shape"].split(", "))),
        size,
        int(found["features"] or 0),
        int(found["groups"] or 1),
        pool,
        int(found["stride"] or (size if pool else 1)),
        bool(found["loop"]),
    )


def images(work: Work) -> NDArray[Any]:
    """Return the images of a case."""
    return np.random.default_rng(0).standard_normal(work.shape, np.float32)


def kernel(work: Work) -> NDArray[Any]:
    """Return the kernel of a convolution."""
    drawn = np.random.default_rng(1).standard_normal(work.kernel_shape, np.float32)
    return drawn / np.float32(np.sqrt(np.prod(work.kernel_shape[:-1])))
