"""Derivatives along a direction, the tangent kernel, the empirical Fisher matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.answers import one_by_one
from contracts.per_example import NETWORKS, draw, linear

from fnn import per_example


@pytest.mark.parametrize("name", ["mlp", "attention", "embedding"])
def test_directional_derivatives_are_inner_products(name, x64):
    row = NETWORKS[name]
    params, batch = draw(row)
    v, _ = draw(row, seed=7)

    @jax.jit
    def derivatives(params, v, *batch):
        return per_example.directional_derivatives(row.loss, params, v, *batch)

    losses, products = derivatives(params, v, *batch)
    g = jax.jit(per_example.gradients(row.loss))(params, *batch)
    np.testing.assert_allclose(losses, g.losses, rtol=1e-12)
    np.testing.assert_allclose(products, g.inner_products(v), rtol=1e-10)


@pytest.mark.parametrize("budget", [2**26, 64])
def test_neural_tangent_kernel_is_that_of_the_jacobians(budget, x64):
    def network(params, x):
        return jnp.tanh(x @ params["w1"]) @ params["w2"]

    params, (x, z) = draw(NETWORKS["mlp"]._replace(batch=((5,), (5,))))
    params = {name: params[name] for name in ("w1", "w2")}

    @jax.jit
    def kernel(params, x, z):
        return per_example.neural_tangent_kernel(
            network, params, x, z, memory_budget=budget
        )

    def rows(x):
        jacobian = [jax.jit(jax.jacrev(network))(params, example) for example in x]
        return np.array(
            [np.concatenate([j[k].reshape(3, -1) for k in sorted(j)], 1) for j in jacobian]
        )

    expected = np.einsum("iap,jbp->ijab", rows(x), rows(z[:2]))
    np.testing.assert_allclose(kernel(params, x, z[:2]), expected, rtol=1e-10, atol=1e-12)


def test_neural_tangent_kernel_takes_vectors():
    with pytest.raises(ValueError, match="must return a vector for one example"):
        per_example.neural_tangent_kernel(linear, jnp.ones(3), jnp.ones((2, 3)))


def test_neural_tangent_kernel_of_a_linear_map_is_that_of_its_inputs(x64):
    """For W x it is ⟨x, x'⟩ for the same output, else 0."""
    x = np.random.default_rng(0).normal(size=(4, 3))
    kernel = per_example.neural_tangent_kernel(lambda w, x: w @ x, jnp.zeros((2, 3)), x)
    expected = np.einsum("ij,ab->ijab", x @ x.T, np.eye(2))
    np.testing.assert_allclose(kernel, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "attention", "embedding"])
def test_gram_is_symmetric_and_has_no_negative_eigenvalue(name, x64):
    row = NETWORKS[name]
    params, batch = draw(row)
    gram = np.asarray(
        jax.jit(lambda p, *b: per_example.gradients(row.loss)(p, *b).gram())(params, *batch)
    )
    np.testing.assert_allclose(gram, gram.T, rtol=1e-12)
    values = np.linalg.eigvalsh(gram)
    assert values[0] > -1e-12 * values[-1]


@pytest.fixture(scope="module")
def fisher():
    """Return gradients, a product with F, directions, and F itself, of a small network."""
    with jax.enable_x64(True):
        row = NETWORKS["mlp"]
        params, batch = draw(row)
        u, v = (draw(row, seed=seed)[0] for seed in (5, 6))
        g = jax.jit(per_example.gradients(row.loss))(params, *batch)
        flat = np.array([flattened(one) for one in one_by_one(row.loss, params, batch)])
        product = jax.jit(per_example.fisher_vector_product)
        return g, product, u, v, flat.T @ flat / len(flat)


def flattened(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_fisher_products_are_those_of_the_matrix(fisher, x64):
    g, product, u, v, matrix = fisher
    for direction in (u, v):
        np.testing.assert_allclose(
            flattened(product(g, direction)), matrix @ flattened(direction), rtol=1e-10
        )
    diagonal = flattened(g.second_moment())
    np.testing.assert_allclose(diagonal, np.diag(matrix), rtol=1e-10, atol=1e-14)


def test_fisher_products_are_linear_and_symmetric(fisher, x64):
    g, product, u, v, _ = fisher
    both = product(g, jax.tree.map(lambda x, y: 2 * x - y, u, v))
    parts = 2 * flattened(product(g, u)) - flattened(product(g, v))
    np.testing.assert_allclose(flattened(both), parts, rtol=1e-9, atol=1e-12)
    left = flattened(u) @ flattened(product(g, v))
    right = flattened(v) @ flattened(product(g, u))
    np.testing.assert_allclose(left, right, rtol=1e-10)
    assert flattened(u) @ flattened(product(g, u)) >= 0


def test_fisher_product_takes_a_tree_like_the_parameters():
    g = per_example.gradients(linear)(jnp.zeros(2), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"v must be like the parameters.*shape \(2,\)"):
        per_example.fisher_vector_product(g, jnp.zeros(3))
