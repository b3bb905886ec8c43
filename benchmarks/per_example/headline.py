"""The table of the project's README: what clipped gradients cost, as multiples."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.suite import Row

NETWORKS = {
    "mlp, batch 256": "perceptron, 784-512-512-10, batch 256",
    "lenet, batch 128": "LeNet-5, batch 128",
    "resnet20, batch 64": "ResNet-20 with group norm, batch 64",
    "transformer, batch 16": "transformer, 4 blocks, T = 128, batch 16",
    "gru, batch 64": "GRU, 64 steps, batch 64",
}
RIVALS = {
    "fnn": ("fnn clipped", "JAX gradient"),
    "JAX, `vmap(grad)`": ("vmap clipped", "JAX gradient"),
    "jax_privacy": ("jax_privacy clipped", "JAX gradient"),
    "Opacus, ghost": ("Opacus ghost clipped", "PyTorch gradient"),
}


def headline(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return the table, the least of each line in bold, and what it was measured on."""
    found = {(row.case, row.rival): row for row in rows}
    lines = []
    for case, network in NETWORKS.items():
        pairs = [(found[case, rival], found[case, base]) for rival, base in RIVALS.values()]
        ratios = [tables.ratio(*pair) for pair in pairs]
        cells = [tables.number(value) for value in ratios]
        cells[ratios.index(min(ratios))] = f"**{tables.number(min(ratios))}**"
        lines.append([network, *cells])
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("jax", "torch"))
    where = f"{about['device']}, {about['cores']} cores, float32, {versions}."
    return [*tables.table(["network", *RIVALS], lines), "", where, ""]
