"""The sizes of the networks, by the cases of the suites."""

from typing import NamedTuple

CLASSES = 10
RATE = 1e-3
MAX_NORM = 1.0
PROOF_STEPS = 3


class Shape(NamedTuple):
    """A network and its batch; one without depth is the convolutional one."""

    depth: int
    width: int
    batch: int


COMPILE = {f"{depth} blocks": Shape(depth, 64, 64) for depth in (2, 8, 32)}
SERIES = {
    "depth": {depth: Shape(depth, 128, 64) for depth in (2, 8, 32)},
    "width": {width: Shape(2, width, 64) for width in (64, 256, 1024)},
    "batch": {batch: Shape(2, 256, batch) for batch in (32, 256, 2048)},
    "leaves": {leaves: Shape(leaves // 2 - 1, 8, 8) for leaves in (8, 64, 512)},
}
GROWTH = {
    f"{name} {size}": shape
    for name, series in SERIES.items()
    for size, shape in series.items()
}
BATCHES = (64, 512, 4096)
MLP = {f"MLP, batch {batch}": Shape(3, 512, batch) for batch in BATCHES}
CNN = {f"CNN, batch {batch}": Shape(0, 28, batch) for batch in BATCHES}
SHAPES = COMPILE | GROWTH | MLP | CNN
