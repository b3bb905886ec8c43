"""Where a program of a loss is unusual: narrow integers, nothing to sum, effects."""

import runpy
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fnn import per_example
from fnn.per_example.tracing import graph


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16, jnp.uint32, jnp.int32])
def test_rows_are_chosen_by_integers_of_any_size(dtype):
    """A table of more rows than a byte can count."""

    def loss(table, i, x):
        return jnp.sum(lax.dynamic_index_in_dim(table, i, 0, keepdims=False) * x)

    ids, x = jnp.array([3, 255, 3], dtype), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    g = jax.jit(per_example.gradients(loss))(jnp.zeros((300, 2)), ids, x)
    expected = np.zeros((300, 2))
    expected[3], expected[255] = [6, 8], [3, 4]
    np.testing.assert_array_equal(g.weighted_sum(jnp.ones(3)), expected)
    assert [row.rule for row in g.explain().rows] == ["rows of a table"]


def test_sequences_of_no_position_have_no_gradient():
    g = per_example.gradients(lambda w, x: jnp.sum(jnp.sin(x @ w)))(
        jnp.ones((5, 4)), jnp.zeros((3, 0, 5))
    )
    np.testing.assert_array_equal(g.norms(), np.zeros(3))
    np.testing.assert_array_equal(g.mean(), np.zeros((5, 4)))


def test_what_the_loss_prints_is_printed(capfd):
    def loss(w, x):
        jax.debug.print("x is {}", x)
        return w * x

    jax.jit(lambda x: per_example.gradients(loss)(1.0, x).norms())(jnp.array([5.0, 7.0]))
    jax.effects_barrier()
    assert sorted(capfd.readouterr().out.split()) == ["5.0", "7.0", "is", "is", "x", "x"]


@jax.custom_vjp
def unscaled(w):
    """Divide the gradient, which is that of a scaled loss, by the scale."""
    return w


unscaled.defvjp(lambda w: (w, None), lambda _, g: (g / 2.0**15,))


def test_scale_of_the_loss_is_taken_off_in_the_dtype_of_the_parameter():
    """Divided before the product, in float16, the factors would be 0."""

    def loss(w, x):
        h = x.astype("float16") @ unscaled(w).astype("float16")
        return jnp.sum(h.astype("float32") * 1e-3)

    w, x = jnp.ones((4, 30)), jnp.full((2, 4), 0.1)
    g = per_example.gradients(loss)(w, x)
    assert [row.rule for row in g.explain().rows] == ["|a|² |g|²"]
    one = jax.grad(loss)(w, x[0])
    assert jnp.min(one) > 0
    np.testing.assert_allclose(g.materialize()[0], one, rtol=2.0**-9)


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (graph.Primitive, "get_bind_params", r"needs Primitive\.get_bind_params"),
        (lax, "pcast", r"needs jax\.lax\.pcast, which jax .* lacks"),
    ],
)
def test_import_says_what_this_jax_lacks(module, name, message, monkeypatch):
    monkeypatch.delattr(module, name)
    with pytest.raises(ImportError, match=message):
        runpy.run_path(graph.__file__)


def test_import_says_that_jax_is_too_old(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.extend.core", None)
    with pytest.raises(ImportError, match=r"install jax>="):
        runpy.run_path(graph.__file__)
