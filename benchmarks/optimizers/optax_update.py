"""Optax, as its documentation chains transformations and applies updates."""

from typing import Any

import optax

from benchmarks.optimizers import B1, B2, DECAY, EPS, MAX_NORM, MOMENTUM, RATE, parse
from benchmarks.optimizers.program import leaves, program
from benchmarks.suite import Program

OPTIMIZERS = {
    "SGD": optax.sgd(RATE),
    "momentum": optax.sgd(RATE, MOMENTUM),
    "Adam": optax.adam(RATE, B1, B2, EPS),
    "AdamW": optax.adamw(RATE, B1, B2, EPS, weight_decay=DECAY),
}


def build(case: str) -> Program:
    """Return the update of a case."""
    kind, count, size = parse(case)
    optimizer = optax.chain(optax.clip_by_global_norm(MAX_NORM), OPTIMIZERS[kind])
    params, grads = leaves(count, size)

    def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return program(update, params, optimizer.init(params), grads)
