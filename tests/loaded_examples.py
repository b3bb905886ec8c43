"""Examples for loaders, whose workers import this and nothing else of ours."""

from collections.abc import Iterator

import numpy as np

COUNT = 48
X = np.random.default_rng(0).normal(size=(COUNT, 3)).astype("float32")
Y = (X.sum(1) + 1).astype("float32")


class Examples:
    """Pairs of an input and a target, of which one may be broken."""

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        if i == self.broken:
            raise OSError(f"example {i} can't be read")
        return X[i], Y[i]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[i] for i in range(COUNT))
