"""fnn's optimizers."""

from typing import Any

from benchmarks.optimizers import B1, B2, DECAY, EPS, MAX_NORM, MOMENTUM, RATE, parse
from benchmarks.optimizers.program import leaves, program
from benchmarks.suite import Program
from fnn import optimizers

OPTIMIZERS = {
    "SGD": optimizers.SGD(RATE),
    "momentum": optimizers.Momentum(RATE, MOMENTUM),
    "Adam": optimizers.Adam(RATE, B1, B2, EPS),
    "AdamW": optimizers.AdamW(RATE, B1, B2, EPS, weight_decay=DECAY),
}


def build(case: str) -> Program:
    """Return the update of a case."""
    kind, count, size = parse(case)
    clip = optimizers.ClipByGlobalNorm(MAX_NORM)
    optimizer = optimizers.Chain(clip, OPTIMIZERS[kind])
    params, grads = leaves(count, size)

    def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optimizers.apply_updates(params, updates), state

    return program(update, params, optimizer.init(params), grads)
