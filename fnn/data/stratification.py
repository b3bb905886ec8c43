"""Division of labelled examples into parts with the same proportions of classes."""

from typing import TypeAlias

import numpy as np

from fnn.types import NDArray

Cell: TypeAlias = tuple[int, int]


def stratified(labels: NDArray, counts: NDArray) -> list[NDArray]:
    """Return, for each part, the rows that belong to it, in ascending order.

    A part of m among n examples gets c m / n examples, rounded up or down, of a class of c.
    The class's first rows go to the first part.
    """
    _, class_sizes = np.unique(labels, return_counts=True)
    table = _rounded(class_sizes, counts)
    parts = np.tile(np.arange(len(counts)), len(class_sizes))
    by_class = np.argsort(labels, kind="stable")
    part_of = np.empty(len(labels), int)
    part_of[by_class] = np.repeat(parts, table.ravel())
    return [np.flatnonzero(part_of == part) for part in range(len(counts))]


def _rounded(rows: NDArray, columns: NDArray) -> NDArray:
    """Round each rowᵢ columnⱼ / n up or down so that rows and columns keep their sums.

    The fractions, in units of 1/n, are moved around cycles of the table, alternately added
    and subtracted, until none is left. As sums are whole, no row or column has exactly one
    fraction, so there is always a cycle (Cox 1987, "A constructive procedure for unbiased
    controlled rounding").
    """
    n = columns.sum()
    table, fractions = np.divmod(np.outer(rows, columns), n)
    while fractions.any():
        cycle = np.array(_cycle(fractions)).T
        giving, taking = tuple(cycle[:, ::2]), tuple(cycle[:, 1::2])
        amount = min(fractions[giving].min(), (n - fractions[taking]).min())
        fractions[giving] -= amount
        fractions[taking] += amount
        whole = fractions == n
        table[whole] += 1
        fractions[whole] = 0
    return table


def _cycle(fractions: NDArray) -> list[Cell]:
    """Return cells with fractions; each shares alternately its row or column with the next.

    The walk starts at any such cell and goes to another one in its row, then to another one
    in that cell's column, and so on, until it meets a row or a column again.
    """
    i, j = np.argwhere(fractions)[0]
    path: list[Cell] = []
    seen: dict[tuple[str, int], int] = {}
    while True:
        for along in ("row", "column"):
            line = (along, i if along == "row" else j)
            if line in seen:
                return [*path[seen[line] + 1 :], (i, j)]
            seen[line] = len(path)
            path.append((i, j))
            if along == "row":
                j = next(k for k in np.flatnonzero(fractions[i]) if k != j)
            else:
                i = next(k for k in np.flatnonzero(fractions[:, j]) if k != i)
