"""Random compositions of what JAX has, against a loop over single examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.answers import check_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

T, D = 3, 4  # every block takes (T, D) to (T, D)


def dense(w, x):
    return jnp.tanh(x @ w + w[:1])


def shared(w, x):
    return jnp.tanh(jnp.tanh(x @ w) @ w.T)


def residual(w, x):
    return x + jax.nn.gelu(x @ w)


def normalized(w, x):
    return jax.nn.standardize(x, axis=-1) * w[:1] + w[1:2]


def convolution(w, x):
    kernel = jnp.stack([w, 2 * w])
    numbers = ("NWC", "WIO", "NWC")
    return jnp.sin(
        lax.conv_general_dilated(x[None], kernel, (1,), "SAME", dimension_numbers=numbers)
    )[0]


def heads(w, x):
    q = jnp.einsum("td,dhk->htk", x, w.reshape(D, 2, 2))
    return x + jnp.einsum("hts,sd->td", jax.nn.softmax(q @ q.transpose(0, 2, 1)), x)


def lookup(w, x):
    """The rows looked up depend on the example."""
    return x * w[jnp.argmax(x, -1)] + w.at[jnp.array([5])].get(mode="fill", fill_value=1)


def stacked(w, x):
    scales = jnp.linspace(0.5, 1.5, 3)
    return lax.scan(lambda h, s: (jnp.tanh(h @ (s * w)), None), x, scales)[0]


def recurrent(w, x):
    def cell(h, row):
        h = jnp.tanh(h @ w + row)
        return h, h

    return lax.scan(cell, jnp.zeros(D), x, reverse=True)[1]


def recurrent_convolution(w, x):
    kernel = jnp.stack([w[:2], 0.5 * w[2:]])  # (2, 2, 4): of two groups
    numbers = ("NWC", "WIO", "NWC")

    def step(h, s):
        h = lax.conv_general_dilated(
            s * h, kernel, (1,), "SAME", dimension_numbers=numbers, feature_group_count=2
        )
        return jnp.tanh(h), None

    return lax.scan(step, x[None], jnp.array([0.5, 1.5]))[0][0]


def remembered(w, x):
    """A matrix of state, to which every step adds, starts from the parameter."""

    def step(s, row):
        s = s + jnp.outer(jnp.sin(row @ w), row)
        return s, row @ s

    return lax.scan(step, w, x)[1]


def checkpointed(w, x):
    return jax.checkpoint(lambda x: jnp.tanh(x @ w))(x)


@jax.custom_vjp
def multiplied(x, w):
    return x @ w


multiplied.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda r, g: (g @ r[1].T, 3 * r[0].T @ g),
)


def custom_vjp(w, x):
    return jnp.sin(multiplied(x, w))


@jax.custom_jvp
def cube(x):
    return x**3


cube.defjvp(lambda x, v: (cube(x[0]), 3 * x[0] ** 2 * v[0]))


def custom_jvp(w, x):
    return jnp.tanh(cube(x @ w))


def branches(w, x):
    return lax.cond(x[0, 0] > 0, lambda x: jnp.sin(x @ w), lambda x: x * w[:1], x)


def repeated(w, x):
    """The number of turns depends on the example, and no gradient goes through it."""
    start = lax.stop_gradient(jnp.abs(x[0, 0]))
    size = lax.while_loop(lambda s: s < 1, lambda s: 2 * s + 0.1, start)
    return jnp.sin(x @ w) * size


def mapped(w, x):
    return jax.vmap(lambda row: jnp.tanh(w @ row))(x)


def sliced(w, x):
    return jnp.concatenate([x[:, :2] @ w[:2], x @ w], 1)[:, 2 : 2 + D]


BLOCKS = [
    dense,
    shared,
    residual,
    normalized,
    convolution,
    heads,
    lookup,
    stacked,
    recurrent,
    recurrent_convolution,
    remembered,
    checkpointed,
    custom_vjp,
    custom_jvp,
    branches,
    repeated,
    mapped,
    sliced,
]
MAIN = ("norms per leaf", "weighted_sum", "inner_products", "gram", "second_moment", "some")


def check(blocks, numbers, budget):
    """Compare a network of blocks, each with the weight of its number."""
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.normal(size=(D, D))) for _ in range(2)]

    def loss(params, x):
        for block, number in zip(blocks, numbers, strict=True):
            x = block(params[number], x)
        return jnp.sum(jnp.sin(x))

    x = jnp.asarray(rng.normal(size=(3, T, D)))
    check_loss(loss, params, (x,), budget, MAIN)


@settings(max_examples=6)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=5),
    numbers=st.lists(st.integers(0, 1), min_size=5, max_size=5),
    budget=st.sampled_from([64, 2**26]),
)
def test_random_composition_is_exact(blocks, numbers, budget):
    with jax.enable_x64(True):
        check(blocks, numbers[: len(blocks)], budget)


@pytest.mark.parametrize("block", BLOCKS)
def test_block_is_exact(block, x64):
    check([block], [0], 2**26)
