"""Networks with rates and seeds of their own, trained in several ways."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.suite import Program
from fnn.types import Array, Key

EXAMPLES, EPOCHS, BATCH_SIZE = 8192, 2, 128
LOSS = fnn.losses.softmax_cross_entropy

Member = tuple[float, Key]


def parts(case: str) -> tuple[int, list[int]]:
    """Return how many networks a case has, and how many units each layer of one."""
    count, widths = case.split(" networks, ")
    return int(count), [int(width) for width in widths.split("-")]


def data(inputs: int, classes: int) -> tuple[Array, Array]:
    """Return random inputs, and labels that depend on them."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(EXAMPLES, inputs)).astype(np.float32)
    labels = np.argmax(x @ draw.normal(size=(inputs, classes)), axis=1)
    return jnp.asarray(x), jnp.asarray(labels.astype(np.int32))


def members(count: int) -> tuple[Array, Key]:
    """Return the rate and the key of each network."""
    rates = jnp.logspace(-3.5, -2.5, count)
    return rates, jax.random.split(jax.random.key(0), count)


def measured(train: Callable[[], Any]) -> Program:
    """Return a program whose first run, which compiles, is a figure."""
    began = time.perf_counter()
    losses = np.asarray(train())
    return Program(train, {"first run, s": time.perf_counter() - began}, losses.tolist())


def together(case: str, at_once: int | None) -> Program:
    """Train by one compiled program, which maps the networks by `vmap`."""
    count, (inputs, *widths) = parts(case)
    objective = fnn.supervised(fnn.models.mlp(*widths), LOSS)

    def trained(member: Member, arrays: Any) -> Array:
        rate, key = member
        _, history = fnn.train(
            objective,
            fnn.optimizers.Adam(rate),
            arrays,
            key=key,
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
        )
        return history["loss"][-1]

    @jax.jit
    def population(members: Any, arrays: Any) -> Array:
        return jax.lax.map(lambda m: trained(m, arrays), members, batch_size=at_once)

    arguments = members(count), data(inputs, widths[-1])
    return measured(lambda: jax.block_until_ready(population(*arguments)))


def one_at_a_time(case: str) -> Program:
    """Make a loop over networks ready."""
    return together(case, None)


def eight_at_a_time(case: str) -> Program:
    """Make a loop over groups of eight networks ready."""
    return together(case, 8)


def all_at_a_time(case: str) -> Program:
    """Make all networks, mapped by `vmap`, ready."""
    return together(case, parts(case)[0])


def fitted(case: str) -> Program:
    """Make `fnn.fit` ready, which compiles a program for each rate."""
    count, (inputs, *widths) = parts(case)
    model, arrays = fnn.models.mlp(*widths), data(inputs, widths[-1])
    rates, keys = members(count)
    optimizers = [fnn.optimizers.Adam(rate) for rate in np.asarray(rates).tolist()]

    def losses() -> list[float]:
        results = [
            fnn.fit(
                model,
                LOSS,
                optimizer,
                arrays,
                key=key,
                epochs=EPOCHS,
                batch_size=BATCH_SIZE,
                progress=False,
            )
            for optimizer, key in zip(optimizers, keys, strict=True)
        ]
        return [result.history["loss"][-1] for result in results]

    return measured(losses)
