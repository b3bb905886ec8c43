"""A convolution is a matrix, mostly of zeros, with the same few weights in every row.

    python examples/convolution_matrix.py

Fills the matrix by hand, compares it with the layer and with its Jacobian (the matrix of a
linear map), and shows what the shared weights give: a shift of the input shifts the output
(translation equivariance).
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import fnn

SEQUENCE, AVERAGE = jnp.arange(1.0, 7.0), jnp.array([0.5, 0.5])
IMAGE = jnp.array([[1.0, 2, 1], [3, 4, 0], [2, 6, 1]])
KERNEL = jnp.array([[-1.0, 2], [1, 0]])
EDGES = jnp.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])  # Sobel's


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolve one channel to one feature by a layer."""
    layer = fnn.Conv(1, kernel.shape, stride=stride, bias=False)
    return layer({"kernel": kernel[..., None, None]}, x[..., None])[..., 0]


def matrix_of(kernel: jax.Array, shape: tuple[int, ...], stride: int = 1) -> np.ndarray:
    """Return the matrix, (outputs, inputs): in each row, the kernel where its window is."""
    starts = [range(0, n - k + 1, stride) for n, k in zip(shape, kernel.shape, strict=True)]
    rows = []
    for corner in itertools.product(*starts):
        row = np.zeros(shape, np.float32)
        window = [slice(i, i + k) for i, k in zip(corner, kernel.shape, strict=True)]
        row[tuple(window)] = kernel
        rows.append(row.ravel())
    return np.array(rows)


def main(outputs: str = "outputs") -> dict[str, float]:
    """Return the largest difference of each pair that is equal in theory."""
    cases = {
        "sequence": (SEQUENCE, AVERAGE, 1),
        "sequence, stride 2": (SEQUENCE, AVERAGE, 2),
        "image": (IMAGE, KERNEL, 1),
    }
    apart = {}
    for name, (x, kernel, stride) in cases.items():
        matrix, y = matrix_of(kernel, x.shape, stride), convolve(x, kernel, stride)
        jacobian = jax.jacobian(convolve)(x, kernel, stride).reshape(matrix.shape)
        print(f"{name}: {np.asarray(y).tolist()}, by a matrix {matrix.shape} of which")
        print(f"    {np.mean(matrix != 0):.0%} is not zero, {kernel.size} weights are free")
        apart[f"{name}: layer"] = float(np.abs(matrix @ x.ravel() - y.ravel()).max())
        apart[f"{name}: Jacobian"] = float(np.abs(matrix - jacobian).max())
    digit = jnp.pad(jnp.asarray(fnn.data.digits()[0][3, ..., 0]), ((1, 1), (1, 5)))
    shifted = jnp.roll(digit, 4, axis=1)
    maps = convolve(digit, EDGES), convolve(shifted, EDGES)
    apart["shift"] = float(jnp.abs(maps[1][:, 4:] - maps[0][:, :-4]).max())
    for name, difference in apart.items():
        print(f"{name:28} {difference:g} apart")
    draw((digit, maps[0], shifted, maps[1]), Path(outputs))
    return apart


def draw(pictures: tuple[Any, ...], folder: Path) -> None:
    """Draw y = K x for sequence and image, and below it what a shift does."""
    figure = plt.figure(figsize=(10, 6.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    equations, shift = parts
    left, right = equations.subplots(1, 2, width_ratios=(9, 12))
    equation(left, SEQUENCE, AVERAGE, "sequence * (½, ½): a band")
    equation(right, IMAGE, KERNEL, "image * kernel, pixels row by row: bands of bands")
    titles = "input", "feature map", "input, shifted", "feature map, shifted alike"
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        axes = shift.add_subplot(1, 4, i + 1)
        low = -float(jnp.abs(picture).max()) * (i % 2)
        axes.imshow(picture, cmap="RdBu" if i % 2 else "gray_r", vmin=low, vmax=-low or 1)
        axes.set(title=title, xticks=[], yticks=[])
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "convolution_matrix.png", dpi=100)
    plt.close(figure)


def equation(axes: Any, x: jax.Array, kernel: jax.Array, title: str) -> None:
    """Draw y = K x in cells, blue where weights are positive, red where negative."""
    matrix, y = matrix_of(kernel, x.shape), np.asarray(convolve(x, kernel))
    columns = matrix.shape[1]
    parts = (y.reshape(-1, 1), 0), (matrix, 2), (np.asarray(x).reshape(-1, 1), columns + 3)
    for cells, left in parts:
        top, tint = (columns - len(cells)) / 2, cells if cells is matrix else 0 * cells
        place = (left, left + cells.shape[1], top + len(cells), top)
        limit = 1.6 * np.abs(matrix).max()
        axes.imshow(tint, cmap="RdBu", vmin=-limit, vmax=limit, extent=place)
        axes.add_patch(Rectangle((left, top), cells.shape[1], len(cells), fill=False))
        for (i, j), value in np.ndenumerate(cells):
            color = "0.75" if cells is matrix and value == 0 else "black"
            spot = left + j + 0.5, top + i + 0.5
            axes.text(*spot, f"{value:g}", ha="center", va="center", color=color)
    axes.text(1.5, columns / 2, "=", ha="center", va="center", size=14)
    axes.text(columns + 2.5, columns / 2, "·", ha="center", va="center", size=24)
    axes.set(xlim=(-0.1, columns + 4.1), ylim=(columns + 0.1, -0.1), title=title)
    axes.axis("off")
    axes.set_anchor("N")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
