"""The rules for a norm agree, and the Gram form survives cancellation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.cancelling import CASES, cancelling
from contracts.per_example import gated

from fnn import per_example
from fnn.per_example.parts import norms

gram = jax.jit(lambda a, g: norms.centred_gram(a, g).squared())
SHAPES = [(1, 1, 3, 4), (2, 1, 3, 1), (1, 5, 4, 3), (3, 2, 1, 5), (2, 6, 3, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_rules_agree(shape, x64):
    (n, t, d, p), rng = shape, np.random.default_rng(0)
    a, g = rng.normal(size=(n, t, d)), rng.normal(size=(n, t, p))
    true = sum(((a_n.T @ g_n) ** 2).sum() for a_n, g_n in zip(a, g, strict=True))
    for name in norms.RULES if t == 1 else ("direct", "centred gram"):
        squared = jax.jit(norms.RULES[name])(jnp.asarray(a), jnp.asarray(g)).squared()
        np.testing.assert_allclose(squared, true, rtol=1e-12)


def factors(case, seed, dtype, **sizes):
    return (jnp.asarray(x[None], dtype) for x in cancelling(case, seed, **sizes))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_gram_form_is_within_its_bound(case, dtype):
    """The bound of the docstring, with u = 2⁻²⁴: both dtypes are computed in float32."""
    for seed in range(5):
        a, g = factors(case, seed, dtype)
        a64, g64 = (np.asarray(x[0], np.float64) for x in (a, g))
        true = np.sum((a64.T @ g64) ** 2)
        mean = a64.mean(0)
        length = np.linalg.norm(a64 - mean, axis=1) + np.linalg.norm(mean)
        scale = np.sum(length * np.linalg.norm(g64, axis=1)) ** 2
        (_, t, d), p = a.shape, g.shape[-1]
        squared = float(gram(a, g))
        assert squared >= 0
        assert abs(squared - true) <= (t + d + p + 8) * 2.0**-24 * scale
        if case in ("common mean", "large mean") and dtype == "float32":
            np.testing.assert_allclose(squared, true, rtol=1e-3)


@pytest.mark.parametrize("rule", ["rank_one", "centred_gram"])
@pytest.mark.parametrize("n", [1, 2])
def test_no_norm_is_too_small_at_any_magnitude(rule, n):
    """A norm below the true one would not be clipped; an infinite one is safe."""
    powers = 10.0 ** np.arange(-44, 39)
    a, g = (x.ravel() for x in np.meshgrid(powers, [1e-30, 1e-3, 1.0, 1e12, 3e38]))
    a = np.stack([a, *[np.full_like(a, 1e38)] * (n - 1)], 1)  # the others are multiplied
    g = np.stack([g, *[np.zeros_like(g)] * (n - 1)], 1)  # by zero
    a, g = (np.float32(x[:, :, None, None] * np.array([1.0, 0.5, 0.0])) for x in (a, g))
    scaled = jax.jit(jax.vmap(getattr(norms, rule)))(a, g)
    squared = scaled.squared()
    a, g = (np.where(np.abs(x) < 1.2e-38, 0, np.float64(x)) for x in (a, g))
    true = np.sum(np.sum(a**2, (2, 3)) * np.sum(g**2, (2, 3)), 1)
    inside = (true > 1e-36) & (true < 3e38)
    assert inside.sum() > 100
    np.testing.assert_allclose(squared[inside], true[inside], rtol=1e-5)
    assert (squared[true > 3.5e38] == np.inf).all()
    found, root = np.asarray(scaled.norm()), np.sqrt(true)
    inside = (root > 1e-36) & (root < 3e38)
    assert inside.sum() > 200
    np.testing.assert_allclose(found[inside], root[inside], rtol=1e-5)


def test_gram_form_without_centring_would_fail():
    """The case is one: the plain Gram form is off by more than a hundredth."""
    a, g = (
        np.asarray(x)[0] for x in factors("common mean", 0, "float32", t=256, d=64, p=64)
    )
    plain = float(jax.jit(lambda a, g: jnp.sum((a @ a.T) * (g @ g.T)))(a, g))
    true = np.sum((np.asarray(a, np.float64).T @ np.asarray(g, np.float64)) ** 2)
    assert abs(plain / true - 1) > 1e-2
    np.testing.assert_allclose(gram(a[None], g[None]), true, rtol=1e-3)


def test_mean_of_the_gradients_is_the_gradient_of_the_mean():
    def loss(w, x):
        return jnp.sum(jnp.tanh(x @ w))

    @jax.jit
    def both(w, x):
        ordinary = jax.grad(lambda w: jnp.mean(jax.vmap(loss, (None, 0))(w, x)))(w)
        return ordinary, per_example.gradients(loss)(w, x).mean()

    x = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
    ordinary, mean = both(np.ones((3, 2), np.float32), x)
    np.testing.assert_allclose(mean, ordinary, rtol=1e-6)


def mlp(params, x, y):
    for w in params[:-1]:
        x = jax.nn.relu(x @ w)
    return jnp.sum((x @ params[-1] - y) ** 2)


def compiled_mlp(function):
    params = [jnp.ones((40, 48)), jnp.ones((48, 56)), jnp.ones((56, 10))]
    x, y = jnp.ones((24, 40)), jnp.ones((24, 10))
    return jax.jit(function).lower(params, x, y).compile()


def clipped(params, x, y):
    result = per_example.clipped_gradient(mlp, 1.0)(params, x, y)
    return result.gradient, result.norms


def test_no_gradient_of_an_example_is_in_the_program_of_an_mlp():
    text = compiled_mlp(clipped).as_text()
    sizes = {
        np.prod([int(n) for n in shape.split(",")])
        for shape in re.findall(r"\[([\d,]+)\]", text)
    }
    assert max(sizes) < 24 * 56 * 10
    assert not re.search(r"\[24,(40,48|48,56|56,10)\]", text)


def test_clipping_an_mlp_takes_the_operations_of_one_gradient():
    def ordinary(params, x, y):
        return jax.grad(lambda p: jnp.mean(jax.vmap(mlp, (None, 0, 0))(p, x, y)))(params)

    flops = [compiled_mlp(f).cost_analysis()["flops"] for f in (clipped, ordinary)]
    assert flops[0] <= 1.15 * flops[1]


def test_clipping_a_gated_network_takes_little_more_memory():
    """Steps put out each cotangent once, and compute 1 - r and the like again."""

    def ordinary(params, xs):
        return jax.grad(lambda p: jnp.mean(jax.vmap(gated, (None, 0))(p, xs)))(params)

    def clipped(params, xs):
        return per_example.clipped_gradient(gated, 1.0)(params, xs).gradient

    params = {"u": jnp.ones((32, 64)), "w": jnp.ones((8, 64))}
    taken = []
    for function in (clipped, ordinary):
        program = jax.jit(function).lower(params, jnp.ones((8, 32, 8))).compile()
        taken.append(program.memory_analysis().temp_size_in_bytes)
    assert taken[0] <= 1.2 * taken[1]


def vocabulary(params, ids, following):
    h = jnp.tanh(params["table"][ids])
    logits = jax.nn.log_softmax(h @ params.get("head", params["table"]).T)
    return -jnp.sum(jnp.take_along_axis(logits, following[:, None], 1))


@pytest.mark.parametrize("names", [("table",), ("table", "head")], ids=["tied", "untied"])
def test_no_table_of_an_example_is_in_the_program(names):
    """B is 6, V 90, d 20."""

    def clipped(params, ids, following):
        result = per_example.clipped_gradient(vocabulary, 1.0)(params, ids, following)
        return result.gradient, result.norms

    params = {name: jnp.ones((90, 20)) for name in names}
    ids = jnp.zeros((6, 5), jnp.int32)
    text = jax.jit(clipped).lower(params, ids, ids).compile().as_text()
    shapes = [
        tuple(int(n) for n in shape.split(","))
        for shape in re.findall(r"\[([\d,]+)\]", text)
    ]
    assert (90, 20) in shapes
    assert max(map(np.prod, shapes)) < 6 * 90 * 20
