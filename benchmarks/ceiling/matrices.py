"""The matrices that are multiplied."""

from typing import Any

import numpy as np


def matrices(size: int) -> Any:
    """Return two matrices, of which the first keeps the size of what it multiplies."""
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((2, size, size), np.float32)
    return a / np.sqrt(np.float32(size)), x
