"""Clipped gradients: each adds no more than its bound, whatever the examples are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.answers import one_by_one
from contracts.per_example import NETWORKS, draw, linear
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.per_example import clipped_gradient

ROW = NETWORKS["mlp"]
PARAMS, BATCH = draw(ROW, jnp.float32)


@functools.cache
def rows():
    """Return the gradients one by one, as rows, and where each parameter's are."""
    grads = one_by_one(ROW.loss, PARAMS, BATCH)
    flat = [np.concatenate([np.ravel(g[k]) for k in sorted(g)]) for g in grads]
    ends = np.cumsum([np.size(PARAMS[k]) for k in sorted(PARAMS)])[:-1]
    return np.array(flat, np.float64), ends


def flat(gradient):
    return np.concatenate([np.ravel(gradient[k]) for k in sorted(gradient)])


def clip_by_loop(g, groups, bounds, factor):
    total = np.zeros(g.shape[1])
    for row in g:
        for group, bound in zip(groups, bounds, strict=True):
            total[group] += factor(np.linalg.norm(row[group]), bound) * row[group]
    return total


FACTORS = {
    "abadi": lambda n, c: 1.0 if n <= c else c / n,
    "automatic": lambda n, c: c / (n + 0.01),
    "normalized": lambda n, c: c / n if n else 0.0,
}


def bounds_to_try():
    norms = np.linalg.norm(rows()[0], axis=1)
    return {"zero": 0.0, "tiny": 1e-3, "median": float(np.median(norms)), "large": 1e6}


@pytest.mark.parametrize("method", FACTORS)
@pytest.mark.parametrize("bound", ["zero", "tiny", "median", "large"])
def test_clipped_gradient_is_that_of_the_loop(method, bound):
    bound = bounds_to_try()[bound]
    g, _ = rows()
    result = jax.jit(clipped_gradient(ROW.loss, bound, method=method))(PARAMS, *BATCH)
    expected = clip_by_loop(g, [slice(None)], [bound], FACTORS[method])
    atol = 1e-5 * max(1e-3, np.abs(expected).max())
    np.testing.assert_allclose(flat(result.gradient), expected, rtol=1e-4, atol=atol)
    norms = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(result.norms, norms, rtol=1e-5)
    assert result.clipped == np.mean(norms > bound)


def test_stability_is_added_to_the_norm_by_automatic_clipping():
    clip = clipped_gradient(ROW.loss, 2.0, method="automatic", stability=0.5)
    expected = clip_by_loop(rows()[0], [slice(None)], [2.0], lambda n, c: c / (n + 0.5))
    found = flat(jax.jit(clip)(PARAMS, *BATCH).gradient)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_clipped_at_infinity():
    result = jax.jit(clipped_gradient(ROW.loss, float("inf")))(PARAMS, *BATCH)
    np.testing.assert_allclose(
        flat(result.gradient), rows()[0].sum(0), rtol=1e-4, atol=1e-4
    )
    assert result.clipped == 0


def test_each_parameter_may_have_a_bound_of_its_own():
    g, ends = rows()
    spans = np.split(np.arange(g.shape[1]), ends)
    share = 1 / np.sqrt(4)
    expected = clip_by_loop(g, spans, [share] * 4, FACTORS["abadi"])
    clip = jax.jit(clipped_gradient(ROW.loss, 1.0, clipping="per_leaf"))
    result = clip(PARAMS, *BATCH)
    np.testing.assert_allclose(flat(result.gradient), expected, rtol=1e-4, atol=1e-6)


def test_groups_have_bounds_of_their_own():
    g, ends = rows()
    b1, frozen, w1, w2 = np.split(np.arange(g.shape[1]), ends)
    groups = [np.concatenate([b1, w1]), np.concatenate([frozen, w2])]
    expected = clip_by_loop(g, groups, [0.3, 2.0], FACTORS["abadi"])
    clip = clipped_gradient(ROW.loss, [0.3, 2.0], clipping=["*1", ("frozen", "w2")])
    np.testing.assert_allclose(
        flat(jax.jit(clip)(PARAMS, *BATCH).gradient), expected, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(clip.sensitivity(), np.hypot(0.3, 2.0))


compiled = functools.cache(jax.jit)
ROWS = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=4
)


@settings(max_examples=25)
@given(x=ROWS, z=st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3))
def test_sensitivity_bounds_what_one_example_changes(x, z):

    clip = clipped_gradient(linear, 0.7, normalize_by=2.0)

    def gradient(rows):
        batch = np.asarray(rows, np.float32).reshape(-1, 3)
        result = compiled(clip)(np.zeros(3, np.float32), batch)
        return np.asarray(result.gradient, np.float64)

    whole, slack = gradient(x), 1e-6 * len(x)
    added = np.linalg.norm(gradient([*x, z]) - whole)
    replaced = np.linalg.norm(gradient([*x[:-1], z]) - whole)
    assert added <= clip.sensitivity("add_or_remove") + slack
    assert replaced <= clip.sensitivity("replace") + slack
    assert clip.sensitivity("zero_out") == clip.sensitivity() == 0.35
    assert clip.sensitivity("replace") == 0.7


@pytest.mark.parametrize("microbatch", [None, 2])
def test_masked_examples_count_nothing(microbatch):
    x = jnp.array([[3.0, 4.0], [jnp.nan, 1.0], [0.3, 0.4], [7.0, 7.0]])
    mask = jnp.array([True, False, True, False])
    clip = clipped_gradient(linear, 1.0, microbatch=microbatch)
    result = jax.jit(lambda x, mask: clip(jnp.zeros(2), x, mask=mask))(x, mask)
    np.testing.assert_allclose(result.gradient, [0.9, 1.2], rtol=1e-6)
    assert result.clipped == 0.5
    np.testing.assert_array_equal(result.finite, [True, False, True, True])


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_examples_that_are_not_finite_are_reported_and_zeroed_by_choice(bad):
    x = jnp.array([[3.0, 4.0], [bad, 1.0]])
    zeroed = clipped_gradient(linear, 1.0, zero_nonfinite=True)(jnp.zeros(2), x)
    np.testing.assert_allclose(zeroed.gradient, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(zeroed.finite, [True, False])
    left = clipped_gradient(linear, 1.0)(jnp.zeros(2), x)
    assert not jnp.isfinite(left.gradient).all()


@pytest.mark.parametrize("microbatch", [1, 5])
def test_microbatches_change_nothing(microbatch):
    def with_aux(params, x, y):
        return ROW.loss(params, x, y), jnp.sum(x)

    whole = jax.jit(clipped_gradient(with_aux, 1.0, has_aux=True))(PARAMS, *BATCH)
    clip = clipped_gradient(with_aux, 1.0, has_aux=True, microbatch=microbatch)
    parts = jax.jit(clip)(PARAMS, *BATCH)
    for x, y in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_microbatches_are_summed_in_float32():
    """In bfloat16, 256 and 1 are 256."""
    clip = jax.jit(clipped_gradient(linear, 1.0, microbatch=1))
    result = clip(jnp.zeros(1, jnp.bfloat16), jnp.ones((512, 1), jnp.bfloat16))
    assert result.gradient == 512
    assert result.gradient.dtype == jnp.bfloat16


def test_dtype_is_kept_and_small_dtypes_are_clipped_as_tightly():
    params, batch = draw(ROW, jnp.bfloat16)
    clip = jax.jit(clipped_gradient(ROW.loss, 1.0))
    result = clip(params, *(np.asarray(x)[:1] for x in batch))
    assert {leaf.dtype for leaf in jax.tree.leaves(result.gradient)} == {jnp.bfloat16.dtype}
    norm = np.linalg.norm(flat(fnn.tree.cast(result.gradient, "float32")))
    np.testing.assert_allclose(norm, 1.0, rtol=2.0**-8)


def test_an_empty_batch_gives_zeros():
    result = clipped_gradient(linear, 1.0)(jnp.ones(2), jnp.zeros((0, 2)))
    np.testing.assert_array_equal(result.gradient, [0.0, 0.0])
    assert result.clipped == 0


def test_it_is_a_value():
    clip = clipped_gradient(
        fnn.losses.squared_error, [1.0, 2.0], clipping=["a", ["b", "c"]]
    )
    assert clip.clipping == ("a", ("b", "c"))
    assert eval(repr(clip), {"fnn": fnn, "jax": jax}) == clip
    assert hash(clip) == hash(eval(repr(clip), {"fnn": fnn, "jax": jax}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_norm": -1.0}, r"max_norm must be in \[0, inf\], got -1.0"),
        ({"clipping": "global"}, "clipping must be one of"),
        ({"clipping": ()}, "a pattern for each group, got none"),
        ({"method": "hard"}, "method must be one of"),
        ({"max_norm": float("inf"), "method": "automatic"}, "must be finite"),
        ({"max_norm": (1.0, 2.0)}, "several numbers where clipping lists groups"),
        ({"max_norm": (1.0,), "clipping": ("a", "b")}, "one number for each group"),
        ({"normalize_by": 0.0}, "normalize_by must be above 0"),
        ({"stability": 0.0}, "stability must be above 0"),
        ({"microbatch": 0}, "microbatch must be a positive integer"),
        ({"memory_budget": -1}, "memory_budget must be a positive integer"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        clipped_gradient(linear, **{"max_norm": 1.0, **options})


def test_calls_are_checked():
    w, x = jnp.zeros(2), jnp.ones((4, 2))
    with pytest.raises(ValueError, match=r"mask must be booleans of shape \(4,\)"):
        clipped_gradient(linear, 1.0)(w, x, mask=jnp.ones(4))
    with pytest.raises(ValueError, match="microbatch must divide the batch, got 3 for 4"):
        clipped_gradient(linear, 1.0, microbatch=3)(w, x)
    with pytest.raises(ValueError, match="relation must be one of"):
        clipped_gradient(linear, 1.0).sensitivity("swap")
    with pytest.raises(ValueError, match="'w2' is in none"):
        clipped_gradient(ROW.loss, 1.0, clipping=("*1", "frozen"))(PARAMS, *BATCH)
    with pytest.raises(ValueError, match="'b1' is in several"):
        clipped_gradient(ROW.loss, 1.0, clipping=("*", "b1"))(PARAMS, *BATCH)


@pytest.mark.parametrize("name", ["mlp", "two positions", "tied embedding", "grid"])
def test_no_example_adds_more_than_the_bound(name):
    """In float32, to 1e-6 of the bound; together they are the clipped gradient."""
    row = NETWORKS[name]
    params, batch = draw(row, jnp.float32)
    norms = [
        np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(g)))
        for g in one_by_one(row.loss, params, batch)
    ]
    bounds = (0.0, 1e-3, float(np.median(norms)), float(np.max(norms)) * 0.999, np.inf)

    @jax.jit
    def contributions(params, *batch):
        def one(bound, *example):
            clip = clipped_gradient(row.loss, bound)
            return clip(params, *(x[None] for x in example)).gradient

        each = [jax.vmap(functools.partial(one, bound))(*batch) for bound in bounds]
        return each, [
            clipped_gradient(row.loss, b)(params, *batch).gradient for b in bounds
        ]

    for bound, each, total in zip(bounds, *contributions(params, *batch), strict=True):
        rows = np.concatenate([np.reshape(each[k], (5, -1)) for k in sorted(each)], 1)
        lengths = np.linalg.norm(np.float64(rows), axis=1)
        assert (lengths <= bound * (1 + 1e-6)).all()
        limit = 1e-5 * max(lengths.sum(), 1e-30)
        np.testing.assert_allclose(flat(total), rows.sum(0), rtol=1e-5, atol=limit)


@pytest.mark.parametrize("method", ["abadi", "normalized"])
@pytest.mark.parametrize("clipping", ["flat", "per_leaf"])
def test_gradients_of_any_size_keep_their_direction(method, clipping):
    """Norms whose squares leave float32 are clipped to the bound, not to 0."""

    def loss(w, x):
        return w @ x

    clip = clipped_gradient(loss, 1.0, method=method, clipping=clipping)
    x = jnp.array([[3e20, 4e20], [3e30, 4e30]])
    result = jax.jit(clip)(jnp.zeros(2), x)
    np.testing.assert_allclose(result.norms, [5e20, 5e30], rtol=1e-6)
    np.testing.assert_allclose(result.gradient, [1.2, 1.6], rtol=1e-6)
    small = jax.jit(clip)(jnp.zeros(2), jnp.array([[3e-25, 4e-25], [0.0, 0.0]]))
    np.testing.assert_allclose(small.norms, [5e-25, 0], rtol=1e-6)
    expected = [0.6, 0.8] if method == "normalized" else [3e-25, 4e-25]
    np.testing.assert_allclose(small.gradient, expected, rtol=1e-6)
