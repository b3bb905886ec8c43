"""Pytree arithmetic and path selection."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn import tree

numbers = st.floats(-100, 100, width=32)
trees = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(numbers, min_size=1, max_size=4).map(lambda v: np.array(v, np.float32)),
    min_size=1,
).map(lambda t: {"x": t, "y": np.ones(3, np.float32)})


def flat(t):
    return np.concatenate([np.asarray(v, np.float64).ravel() for v in jax.tree.leaves(t)])


@given(trees, st.floats(-3, 3, width=32))
def test_arithmetic_is_that_of_vectors(t, factor):
    t = jax.tree.map(jnp.asarray, t)
    twice = tree.add(t, t)
    np.testing.assert_allclose(flat(twice), 2 * flat(t))
    chex.assert_trees_all_equal(tree.subtract(twice, t), t)
    np.testing.assert_allclose(flat(tree.scale(factor, t)), factor * flat(t), rtol=1e-6)
    np.testing.assert_allclose(tree.dot(t, t), flat(t) @ flat(t), rtol=1e-5)
    np.testing.assert_allclose(tree.norm(t), np.linalg.norm(flat(t)), rtol=1e-5)
    assert tree.size(t) == flat(t).size
    assert tree.nbytes(t) == 4 * flat(t).size
    assert (flat(tree.zeros_like(t)) == 0).all()


def test_norm_of_narrow_leaves_is_summed_in_float32():
    leaves = {"a": jnp.full(70_000, 1.0, jnp.float16)}
    np.testing.assert_allclose(tree.norm(leaves), np.sqrt(70_000), rtol=1e-6)
    assert tree.norm({}) == 0


def test_all_finite():
    assert tree.all_finite({})
    assert tree.all_finite({"a": jnp.ones(2)})
    assert not tree.all_finite({"a": jnp.ones(2), "b": {"c": jnp.array(jnp.inf)}})


PARAMS = {
    "body": {"dense_0": {"kernel": 1.0, "bias": 2.0}, "dense_1": {"kernel": 3.0}},
    "head": {"kernel": 4.0},
    "scale": 5.0,
}


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("*", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("body/*", [1.0, 2.0, 3.0]),
        ("*/dense_*/kernel", [1.0, 3.0]),
        ("*kernel", [1.0, 3.0, 4.0]),
        ("scale", [5.0]),
        (("head/*", "scale"), [4.0, 5.0]),
        ("body/dense_[1-9]/*", [3.0]),
    ],
)
def test_patterns_are_globs_on_whole_paths(pattern, chosen):
    some, others = tree.partition(PARAMS, pattern)
    assert sorted(jax.tree.leaves(some)) == chosen
    assert len(jax.tree.leaves(others)) == 5 - len(chosen)
    assert tree.merge(some, others) == PARAMS
    assert tree.merge(others, some) == PARAMS


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(
        ValueError, match=r"no leaf matches 'dense_\*'.*'body/dense_0/bias'"
    ):
        tree.match(PARAMS, ("*", "dense_*"))
    with pytest.raises(ValueError, match="no leaf matches 'Head"):
        tree.match(PARAMS, "Head/*")


def test_paths_of_other_containers():
    assert tree.flatten([1.0, (2.0, {"a": 3.0})]) == {"0": 1.0, "1/0": 2.0, "1/1/a": 3.0}


def test_gradient_of_one_part_alone():
    chosen, others = tree.partition({"a": jnp.ones(2), "b": jnp.ones(2)}, "a")
    grads = jax.grad(lambda p: tree.norm(tree.merge(p, others)))(chosen)
    assert grads["b"] is None
    assert grads["a"].shape == (2,)
