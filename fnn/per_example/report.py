"""A table of how the norms of each parameter's gradients are computed."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.per_example.parts import blocks
from fnn.per_example.parts.leaf import Leaf
from fnn.tables import text_table
from fnn.types import PyTree, Shape

DESCRIPTIONS = {
    "none": "no gradient",
    "formed": "formed",
    "rank one": "|a|² |g|²",
    "centred gram": "product, centred Gram form",
    "direct": "product, formed and forgotten",
    "lookup": "rows of a table",
    "pooled": "rows of a table, pooled",
    "apart": "parts that don't overlap",
    "crossed": "table, looked up and multiplied",
}


class LeafExplanation(NamedTuple):
    """One parameter: path, shape, rule, reason; FLOPs and bytes of its squared norms."""

    path: str
    shape: Shape
    rule: str
    why: str
    flops: int
    nbytes: int


class Explanation(NamedTuple):
    """A row for each parameter; prints as a table.

    FLOPs are for the squared norms of the batch, beyond the cost of the gradient of the
    mean loss. Bytes are the temporary memory of a block of examples; or, if the gradients
    are formed, those of the whole batch.
    """

    rows: tuple[LeafExplanation, ...]

    def __str__(self) -> str:
        header = ("parameter", "shape", "rule", "why", "FLOPs", "bytes")
        cells = []
        for row in self.rows:
            shape = ",".join(map(str, row.shape))
            numbers = f"{row.flops:,}", f"{row.nbytes:,}"
            cells.append((row.path, f"[{shape}]", row.rule, row.why, *numbers))
        return text_table(header, cells, numbers=2)


def explain(leaves: PyTree, count: int) -> Explanation:
    """Return the table of a tree of leaves, for `count` examples."""
    found = jax.tree.leaves_with_path(leaves, is_leaf=lambda node: isinstance(node, Leaf))
    return Explanation(tuple(_row(path, leaf, count) for path, leaf in found))


def _row(path: Any, leaf: Leaf, count: int) -> LeafExplanation:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    rule, cost = leaf.rule, leaf.cost()
    nbytes = cost.memory * blocks.size(count, cost.memory, leaf.budget)
    if rule == "formed":
        nbytes = count * math.prod(leaf.shape) * jnp.dtype(leaf.wide).itemsize
    flops = cost.flops * count
    return LeafExplanation(name, leaf.shape, DESCRIPTIONS[rule], leaf.why, flops, nbytes)
