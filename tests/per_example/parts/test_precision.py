"""How exact norms are: the bounds that `FactoredGradients.norms` states, rule by rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.cancelling import CASES, cancelling

from fnn import per_example

UNIT = 2.0**-24  # both dtypes are computed in float32
IDS = np.arange(300) % 7


def product(w, a, g):
    """The gradient is Aᵀ G, the batch holding the factors."""
    return jnp.sum((a @ w) * g)


def halves(w, a, g):
    """Two parts of the parameter, each with a product of its own."""
    left, right = jnp.split(w, 2, axis=1)
    g_left, g_right = jnp.split(g, 2, axis=1)
    return jnp.sum((a @ left) * g_left) + jnp.sum((a[::-1] @ right) * g_right)


def lookup(w, a, g):
    return jnp.sum(w[a.astype(jnp.int32)[:, 0]] * g)


def crossed(w, a, g):
    """A product and lookups of what nearly takes it away again, row by row."""
    ids = jnp.arange(w.shape[0], dtype=jnp.int32)
    rows = a.T @ g
    return jnp.sum((a @ w) * g) - jnp.sum(w[ids] * rows) * (1 + 2.0**-7)


RULES = {
    "|a|² |g|²": (product, {}),
    "product, centred Gram form": (product, {"t": 32, "d": 128, "p": 96}),
    "product, formed and forgotten": (product, {}),
    "rows of a table": (lookup, {"t": 300}),
    "parts that don't overlap": (halves, {"t": 8, "d": 64, "p": 64}),
    "table, looked up and multiplied": (crossed, {"t": 8, "d": 40, "p": 24}),
}
SQUARED = (
    "product, centred Gram form",
    "table, looked up and multiplied",
    "parts that don't overlap",  # each of which is in the Gram form
)
OF_TWO_FACTORS = [name for name in RULES if "table" not in name]  # ids have no scale


@pytest.fixture(scope="module", params=RULES)
def rule(request):
    """Return the name of a rule, sizes, and its norms, compiled once for each dtype."""
    loss, sizes = RULES[request.param]

    @jax.jit
    def norms(w, *batch):
        g = per_example.gradients(loss, memory_budget=64)(w, *batch)
        assert [row.rule for row in g.explain().rows] == [request.param]
        return g.norms()

    return request.param, sizes, norms


def batch_of(name, case, dtype, sizes):
    """Return a batch of three seeds."""
    pairs = [cancelling(case, seed, **sizes) for seed in range(3)]
    a, g = (np.stack(x) for x in zip(*pairs, strict=True))
    if name == "|a|² |g|²":
        a, g = a[:, :1], g[:, :1]
    if name == "rows of a table":
        a = np.broadcast_to(IDS[None, :, None], (3, 300, 1))
        g = g - g.mean(1, keepdims=True)
    return jnp.asarray(a, dtype), jnp.asarray(g, dtype)


def true_gradient(name, a, g):
    """Return the gradient of one example in float64, and S of the bound."""
    a, g = np.asarray(a, np.float64), np.asarray(g, np.float64)
    lengths = np.linalg.norm(g, axis=1)
    if name == "rows of a table":
        gradient = np.zeros((7, g.shape[1]))
        np.add.at(gradient, IDS, g)
        return gradient, lengths.sum()
    mean = a.mean(0)
    size = np.sum((np.linalg.norm(a - mean, axis=1) + np.linalg.norm(mean)) * lengths)
    if name == "parts that don't overlap":
        left, right = np.split(g, 2, 1)
        return np.concatenate([a.T @ left, a[::-1].T @ right], 1), 2 * size
    return a.T @ g, size


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_norm_is_within_its_bound(rule, case, dtype):
    name, sizes, norms = rule
    a, g = batch_of(name, case, dtype, sizes)
    w = jnp.zeros((7 if name == "rows of a table" else a.shape[2], g.shape[2]), dtype)
    got = np.asarray(norms(w, a, g), np.float64)
    assert (got >= 0).all()
    for norm, one_a, one_g in zip(got, a, g, strict=True):
        gradient, size = true_gradient(name, one_a, one_g)
        if name == "table, looked up and multiplied":
            rows = np.asarray(one_a.T @ one_g, np.float64)
            factor = float(jnp.asarray(1 + 2.0**-7, dtype))
            gradient = gradient - rows * factor
            size += np.linalg.norm(rows, axis=1).sum() * factor
        n, true = sum((*one_a.shape, one_g.shape[1], 8)), np.linalg.norm(gradient)
        if name in SQUARED:
            assert abs(norm**2 - true**2) <= n * UNIT * size**2
        else:
            assert abs(norm - true) <= n * UNIT * size


@pytest.mark.parametrize("rule", OF_TWO_FACTORS, indirect=True)
@pytest.mark.parametrize(("large", "small"), [(1e25, 1e-25), (1e-30, 1e30), (1e30, 0.0)])
def test_factors_may_be_where_their_squares_are_out_of_range(rule, large, small):
    name, sizes, norms = rule
    a, g = (np.asarray(x) for x in batch_of(name, "huge range", "float32", sizes))
    a = np.clip(a, -10, 10)
    w = jnp.zeros((a.shape[2], g.shape[2]))
    wanted = [
        np.linalg.norm(true_gradient(name, *pair)[0]) for pair in zip(a, g, strict=True)
    ]
    got = norms(w, jnp.asarray(a * large), jnp.asarray(g * small))
    expected = np.array(wanted) * float(np.float32(large)) * float(np.float32(small))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_norms_are_right_in_the_whole_range():
    """Also where their squares are not: above about 1e19 and below about 1e-19."""
    sizes = [1e37, 3e25, 1e18, 1e-18, 2e-25, 1e-36]
    a = jnp.array(sizes)[:, None, None]
    compute = jax.jit(per_example.gradients(product))
    g = compute(jnp.zeros((1, 1)), a, jnp.ones_like(a))
    np.testing.assert_allclose(g.norms(), sizes, rtol=1e-5)
    inside = [np.inf, np.inf, 1e36, 1e-36, 0, 0]
    np.testing.assert_allclose(g.squared_norms(), inside, rtol=1e-5)


def test_cross_term_that_overflows_makes_no_norm_too_small():
    """⟨G, u⟩ of an example leaves the range though products and rows are within it."""

    def tied(w, a, g, u):
        """The gradient is Aᵀ G, and a row u at the first id."""
        return jnp.sum((a @ w) * g) + jnp.sum(w[jnp.zeros(1, jnp.int32)] * u)

    compute = jax.jit(lambda *x: per_example.gradients(tied, memory_budget=64)(*x).norms())
    ones = np.ones((1, 8, 24))
    for a, g, u in [(1e-10, 1e25, -1e18), (1e-10, 1e25, 1e18), (1e-30, 1e38, -1e15)]:
        gradient = np.full((40, 24), 8 * a * g)
        gradient[0] += u
        scaled = np.full((1, 8, 40), a), g * ones, u * ones[:, :1]
        [norm] = compute(jnp.zeros((40, 24)), *(jnp.asarray(x, "float32") for x in scaled))
        assert not norm < 0.999 * np.linalg.norm(gradient), (a, g, u)
