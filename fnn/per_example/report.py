"""How the norms of each parameter's gradients are computed, as a table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from fnn.per_example import blocks
from fnn.per_example.leaf import Leaf
from fnn.types import PyTree, Shape

RULES = {
    "none": "no gradient",
    "formed": "formed",
    "rank one": "|a|² |g|²",
    "gram": "product, centred Gram form",
    "direct": "product, formed and forgotten",
    "lookup": "rows of a table",
    "apart": "parts that don't overlap",
    "crossed": "table, looked up and multiplied",
}


class LeafExplanation(NamedTuple):
    """One parameter: path, shape, rule, reason; FLOPs and bytes of its norms."""

    path: str
    shape: Shape
    rule: str
    why: str
    flops: int
    nbytes: int


class Explanation(NamedTuple):
    """A row for each parameter; prints as a table.

    FLOPs are for the squared norms of the batch, beyond what the gradient of the mean
    loss costs; bytes are the temporary memory of a block of examples.
    """

    rows: tuple[LeafExplanation, ...]

    def __str__(self) -> str:
        header = ("parameter", "shape", "rule", "why", "FLOPs", "bytes")
        cells = [header]
        for row in self.rows:
            shape = ",".join(map(str, row.shape))
            numbers = f"{row.flops:,}", f"{row.nbytes:,}"
            cells.append((row.path, f"[{shape}]", row.rule, row.why, *numbers))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [_line(row, widths) for row in cells]
        return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def explain(leaves: PyTree, count: int) -> Explanation:
    """Return the table of a tree of leaves, for `count` examples."""
    found = jax.tree.leaves_with_path(leaves, is_leaf=lambda node: isinstance(node, Leaf))
    return Explanation(tuple(_row(path, leaf, count) for path, leaf in found))


def _row(path: Any, leaf: Leaf, count: int) -> LeafExplanation:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    form, cost = leaf.form, leaf.cost()
    block = blocks.size(count, cost.memory, leaf.budget)
    return LeafExplanation(
        name, leaf.shape, RULES[form], leaf.why, cost.flops * count, cost.memory * block
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:4], widths[:4], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[4:], widths[4:], strict=True)]
    return "  ".join([*left, *right]).rstrip()
