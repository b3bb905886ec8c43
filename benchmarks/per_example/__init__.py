"""Per-example norms and clipped gradients, beside each library's ordinary gradient."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.per_example.headline import headline
from benchmarks.suite import Row, Suite

GRADIENT, TORCH = "JAX gradient", "PyTorch gradient"
NORMS, CLIPPED, GHOST = "fnn norms", "fnn clipped", "Opacus ghost clipped"
RIVALS = {
    GRADIENT: "ordinary",
    NORMS: "fnn_norms",
    CLIPPED: "fnn_clipped",
    "vmap norms": "vmap_norms",
    "vmap clipped": "vmap_clipped",
    "jax_privacy clipped": "jax_privacy_clipped",
    TORCH: "torch_ordinary",
    GHOST: "opacus_ghost",
    "Opacus hooks clipped": "opacus_hooks",
    "BackPACK norms": "backpack_norms",
    "BackPACK clipped": "backpack_clipped",
}
# Networks of dense layers and tables, of which more is asked.
DENSE = ("mlp", "transformer", "embedding", "gpt2")
DENSE_GOAL, GOAL = 1.10, 1.25


def goal(case: str) -> float:
    """Return how many times the ordinary gradient may be taken."""
    return DENSE_GOAL if case.startswith(DENSE) else GOAL


def summary(_: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return a table of what was aimed at, and whether it was met."""
    lines = []
    for case in dict.fromkeys(row.case for row in rows):
        beside = {row.rival: row for row in rows if row.case == case}

        def cell(rival: str, base: str, limit: float, beside: dict[str, Row]) -> str:
            if any(r not in beside or beside[r].refused for r in (rival, base)):
                return ""
            found = tables.ratio(beside[rival], beside[base])
            return f"{found:.2f}, {'met' if found <= limit else 'missed'}"

        limit = goal(case)
        ratios = [cell(rival, GRADIENT, limit, beside) for rival in (NORMS, CLIPPED)]
        lines.append([case, f"{limit:.2f}", *ratios, cell(CLIPPED, GHOST, 1.0, beside)])
    heads = ["goals", f"of {GRADIENT}", NORMS, CLIPPED, f"{CLIPPED}, of {GHOST}: 1.00"]
    return tables.table(heads, lines)


SUITE = Suite(
    name="per_example",
    title="per-example",
    cases=(
        "mlp, batch 256",
        "lenet, batch 128",
        "cnn, batch 128",
        "resnet20, batch 64",
        "transformer, batch 16",
        "embedding, batch 128",
        "rnn, batch 64",
        "gru, batch 64",
    ),
    accelerated=(
        "mlp, batch 4096",
        "cnn, batch 1024",
        "resnet20, batch 512",
        "transformer, batch 128",
        "gru, batch 1024",
        "gpt2, batch 8",
    ),
    rivals={name: f"{__name__}.{module}" for name, module in RIVALS.items()},
    bases={name: TORCH for name in RIVALS if name.startswith(("Opacus", "BackPACK"))},
    tolerance=2e-3,
    per="gradient",
    summary=summary,
    headline=headline,
)
