"""Per-example gradients of every kind of network, against a loop over single examples."""

import jax
import jax.numpy as jnp
import numpy as np
from contracts import over
from contracts.answers import check_answers, flat, loop
from contracts.per_example import NETWORKS, draw

from fnn import per_example

# Nothing fits into it: gradients are not kept, and examples are worked on one by one.
SCARCE = 64
MAIN = ("norms", "weighted_sum", "inner_products", "gram", "second_moment", "materialize")
AMPLE = ("mlp", "heads", "norm", "embedding", "tied embedding", "recurrent", "conv, groups")


@over(NETWORKS)
def test_every_answer_is_that_of_the_loop(row, x64):
    check_answers(row, SCARCE, MAIN)


@over({name: NETWORKS[name] for name in AMPLE})
def test_every_answer_is_that_of_the_loop_where_memory_is_ample(row, x64):
    check_answers(row, 2**26)


@over(NETWORKS)
def test_rule_is_the_cheapest_and_dtypes_are_kept(row):
    """The parameters' dtype is kept; norms have at least float32."""
    params, batch = draw(row, jnp.bfloat16)

    def ask(params, *batch):
        g = per_example.gradients(row.loss)(params, *batch)
        return g, g.norms(), (g.weighted_sum(jnp.ones(5)), g.mean(), g.materialize())

    g, norms, trees = jax.eval_shape(ask, params, *batch)
    rows = {leaf.path: leaf for leaf in g.explain().rows}
    assert {path: leaf.rule for path, leaf in rows.items()} == row.rules
    assert all(leaf.why or leaf.rule != "formed" for leaf in rows.values())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trees)} == {"bfloat16"}
    assert norms.dtype == jnp.float32


@over({name: NETWORKS[name] for name in AMPLE})
def test_norms_are_right_in_float32(row):
    params, batch = draw(row, jnp.float32)
    _, grads = loop(row.loss, params, batch)
    norms = jax.jit(lambda *args: per_example.gradients(row.loss)(*args).norms())
    wanted = np.linalg.norm(flat(grads), axis=1)
    np.testing.assert_allclose(norms(params, *batch), wanted, rtol=2e-5)
