"""Pytree arithmetic and path selection."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import optimizers, tree

numbers = st.floats(-100, 100, width=32, allow_subnormal=False)
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
    assert tree.size(t) == flat(t).size
    assert tree.nbytes(t) == 4 * flat(t).size
    assert (flat(tree.zeros_like(t)) == 0).all()


def test_norm_of_narrow_leaves_is_summed_in_float32():
    leaves = {"a": jnp.full(70_000, 1.0, jnp.float16)}
    np.testing.assert_allclose(tree.norm(leaves), np.sqrt(70_000), rtol=1e-6)
    assert tree.norm({}) == 0


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_norm_is_right_wherever_it_is_a_number(platform, monkeypatch):
    """Each form of the program, on its own and with others that do or don't need it."""
    monkeypatch.setattr(fnn.platforms, "target", lambda: platform)
    jax.clear_caches()  # what was traced for the other platform
    top, least = 3.0e38, 1.2e-38
    cases = [
        ([3e20, 4e20], 5e20),
        ([3e-25, 4e-25], 5e-25),
        ([top, 0], top),
        ([least, 0], least),
        ([3.0, 4.0], 5.0),
        ([1e-19, 1e-19], 2**0.5 * 1e-19),
        ([1e19, 1e19], 2**0.5 * 1e19),
        ([0.0, 0.0], 0.0),
        ([np.inf, 1.0], np.inf),
        ([-np.inf, np.inf], np.inf),
        ([np.nan, np.inf], np.nan),
        ([np.nan, 0.0], np.nan),
        ([3e38, 3e38], np.inf),
    ]
    vectors = jnp.array([vector for vector, _ in cases], jnp.float32)
    expected = [length for _, length in cases]
    by_leaf = jax.vmap(lambda v: tree.norm({"a": v[:1], "b": v[1]}))
    np.testing.assert_allclose(jax.jit(by_leaf)(vectors), expected, rtol=1e-6)
    for vector, length in cases[:3]:
        got = tree.norm([jnp.float32(vector)])
        np.testing.assert_allclose(got, np.float32(length), rtol=1e-6)
    # The gradient is x / n, and 0 at 0.
    slopes = jax.jit(jax.vmap(jax.grad(tree.norm)))(vectors[:8])
    unit = [np.divide(vector, length or 1) for vector, length in cases[:8]]
    np.testing.assert_allclose(slopes, unit, rtol=1e-5)
    jax.clear_caches()


NORM = jax.jit(tree.norm)
magnitudes = st.builds(
    lambda mantissa, exponent: mantissa * 10.0**exponent,
    st.floats(1, 9.9) | st.floats(-9.9, -1),
    st.integers(-36, 36),
)


@given(st.lists(magnitudes, min_size=5, max_size=5))
def test_norm_of_numbers_of_any_size(numbers):
    got = NORM(jnp.array(numbers, jnp.float32))
    np.testing.assert_allclose(got, np.linalg.norm(numbers), rtol=2e-6)


def test_norm_of_many_tiny_numbers_and_in_float64(x64):
    tiny = jnp.full(2**20, 2.0**-75, jnp.float32)
    np.testing.assert_allclose(tree.norm(tiny), 2.0**-65, rtol=1e-6)
    np.testing.assert_allclose(tree.norm([3e200, jnp.float32(4)]), 3e200, rtol=1e-15)
    np.testing.assert_allclose(tree.norm(np.array([3e-300, 4e-300])), 5e-300, rtol=1e-15)
    assert tree.norm({"n": jnp.full(2, 2**30, jnp.int32)}) == 2**30.5
    assert tree.norm(jnp.array([3 + 4j])) == 5
    assert tree.norm({"empty": jnp.ones((0, 3))}) == 0


def test_norm_has_derivatives_of_second_order(x64):
    """The Hessian of ‖x‖ is (I - u uᵀ) / ‖x‖."""
    x = np.array([1.0, -2.0, 0.5])
    length = np.linalg.norm(x)
    hessian = (np.eye(3) - np.outer(x, x) / length**2) / length
    for derivative in (jax.hessian, lambda f: jax.jacrev(jax.grad(f))):
        np.testing.assert_allclose(derivative(tree.norm)(jnp.asarray(x)), hessian)


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


def test_a_pattern_with_the_old_name_of_a_stack_is_told_the_new_one():
    params = {"repeat_0": {"stack": {"kernel": jnp.ones((2, 3))}}}
    now = r"a Repeat's parameters are under 'stack': '\*/stack/\*' matches"
    with pytest.raises(ValueError, match=rf"no leaf matches '\*/layer/\*'; {now}"):
        tree.match(params, "*/layer/*")
    frozen = optimizers.Frozen()
    with pytest.raises(ValueError, match=rf"'\*/layer/\*' gets no leaf.*; {now}"):
        optimizers.ByPath({"*/layer/*": frozen, "*": frozen}).init(params)


def test_paths_of_other_containers():
    assert tree.flatten([1.0, (2.0, {"a": 3.0})]) == {"0": 1.0, "1/0": 2.0, "1/1/a": 3.0}


def test_gradient_of_one_part_alone():
    chosen, others = tree.partition({"a": jnp.ones(2), "b": jnp.ones(2)}, "a")
    grads = jax.grad(lambda p: tree.norm(tree.merge(p, others)))(chosen)
    assert grads["b"] is None
    assert grads["a"].shape == (2,)


def test_stacked_axes_count_the_stacks_above_a_leaf():
    model = fnn.Sequential(fnn.Repeat(fnn.Repeat(fnn.Dense(4), 2), 3), fnn.Dense(2))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), jnp.ones(4))
    axes = tree.flatten(tree.stacked_axes({"": (params,), "stack": jnp.ones(3)}))
    assert axes["/0/repeat_0/stack/stack/kernel"] == 2
    assert axes["/0/dense_0/kernel"] == axes["stack"] == 0


def test_a_layer_that_is_called_stack_is_no_stack():
    """Its leaves have no first axis of one length, which copies would have."""
    for shapes in ({"kernel": (3, 4), "bias": (4,)}, {"kernel": (3, 4), "scale": ()}):
        own = {name: jnp.ones(shape) for name, shape in shapes.items()}
        stacks = {"own": {"stack": own}, "outer": {"stack": {"a": own, "stack": own}}}
        assert set(jax.tree.leaves(tree.stacked_axes(stacks))) == {0}
    inner = {"stack": {"kernel": jnp.ones((5, 3)), "bias": jnp.ones(5)}}
    outer = {"stack": {"inner": inner, "kernel": jnp.ones((2, 5))}}
    axes = tree.stacked_axes(outer)["stack"]
    assert axes == {"inner": {"stack": {"kernel": 1, "bias": 1}}, "kernel": 0}
