"""Optimizers by path: who gets which leaf, and what freezing means."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import optimizers
from fnn.optimizers import base


def two_parts():
    return {
        "body": {"bias": jnp.ones(2), "kernel": jnp.full((2, 2), 100.0)},
        "head": {"bias": jnp.ones(1), "kernel": jnp.ones((2, 1))},
    }


FINE_TUNE = optimizers.ByPath({"head/*": optimizers.Adam(0.1), "*": optimizers.Frozen()})


def test_frozen_leaves_have_no_state_and_do_not_move():
    params = two_parts()
    state = FINE_TUNE.init(params)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(), (1,), (2, 1)}
    updates, state = FINE_TUNE.update(params, state, params)
    moved = optimizers.apply_updates(params, updates)
    chex.assert_trees_all_equal(moved["body"], params["body"])
    alone, _ = optimizers.Adam(0.1).update(
        params["head"], optimizers.Adam(0.1).init(params["head"])
    )
    chex.assert_trees_all_equal(updates["head"], alone)


def test_the_first_glob_that_matches_wins():
    by_path = optimizers.ByPath(
        {
            ("*/bias", "nothing"): optimizers.SGD(1.0),
            "head/*": optimizers.SGD(2.0),
            "*": optimizers.SGD(3.0),
        }
    )
    ones = jax.tree.map(jnp.ones_like, two_parts())
    updates, state = by_path.update(ones, by_path.init(ones))
    rates = {path: -leaf.ravel()[0] for path, leaf in fnn.tree.flatten(updates).items()}
    assert rates == {
        "body/bias": 1,
        "body/kernel": 3,
        "head/bias": 1,
        "head/kernel": 2,
    }
    with pytest.raises(ValueError, match="has 3 learning rates, at "):
        optimizers.current_learning_rate(state)
    by_leaf = optimizers.learning_rates(by_path, state, ones)
    assert fnn.tree.flatten(by_leaf) == rates


def kernels(*names):
    return {name: {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)} for name in names}


SGD = optimizers.SGD
TWO_RATES = optimizers.ByPath({"a/*": SGD(0.1), "b/*": SGD(0.001)})


@pytest.mark.parametrize(
    "around",
    [
        lambda two: two,
        lambda two: optimizers.Chain(optimizers.ClipByNorm(1.0), two),
        lambda two: optimizers.Lookahead(two, period=1, slow_rate=1.0),
        lambda two: optimizers.ByPath({"*": two}),
    ],
    ids=["ByPath", "Chain", "Lookahead", "nested"],
)
def test_each_leaf_decays_by_the_rate_by_which_it_moves(around):
    optimizer, params = optimizers.DecoupledDecay(around(TWO_RATES), 0.5), kernels("a", "b")
    zeros, state = fnn.tree.zeros_like(params), optimizer.init(params)
    updates, state = optimizer.update(zeros, state, params)
    np.testing.assert_allclose(updates["a"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(updates["b"]["kernel"], -0.0005, rtol=1e-6)
    assert not any(leaf.any() for leaf in (updates["a"]["bias"], updates["b"]["bias"]))


def test_what_muon_gives_to_others_decays_by_their_rate():
    muon = optimizers.Muon(0.02, others=optimizers.Adam(3e-4))
    optimizer = optimizers.DecoupledDecay(muon, 0.5)
    params = kernels("dense") | {"conv": {"kernel": jnp.ones((3, 3, 1, 1))}}
    zeros, state = fnn.tree.zeros_like(params), optimizer.init(params)
    updates, state = optimizer.update(zeros, state, params)
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.02 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(updates["conv"]["kernel"], -3e-4 * 0.5, rtol=1e-6)
    assert optimizers.current_learning_rate(state) == np.float32(0.02)


def test_decay_uses_the_rate_of_its_own_step():
    rate = fnn.schedules.Piecewise((1,), (0.5, 0.25))
    two = optimizers.ByPath({"a/*": SGD(rate), "b/*": optimizers.AMSGrad(0.125)})
    optimizer, params = optimizers.DecoupledDecay(two, 1.0, on="*"), kernels("a", "b")
    zeros, state = fnn.tree.zeros_like(params), optimizer.init(params)
    for expected in (-0.5, -0.25):
        updates, state = optimizer.update(zeros, state, params)
        np.testing.assert_allclose(updates["a"]["bias"], expected)
        np.testing.assert_allclose(updates["b"]["bias"], -0.125)


def test_a_history_has_a_column_for_each_rate():
    model = fnn.Sequential(a=fnn.Dense(1), b=fnn.Dense(1))
    data = jnp.ones((4, 2)), jnp.ones((4, 1))
    loss = fnn.losses.squared_error
    options = {"key": jax.random.key(0), "epochs": 1, "batch_size": 4, "progress": False}
    history = fnn.fit(model, loss, TWO_RATES, data, **options).history
    assert history["learning_rate[a/*]"] == np.float32(0.1)
    assert history["learning_rate[b/*]"] == np.float32(0.001)
    assert "learning_rate" not in history


def test_names_of_rates_are_short_where_there_is_one():
    params = kernels("a", "b")

    def named(optimizer):
        rates = base.named_rates(optimizer, optimizer.init(params))
        return {name: float(rate) for name, rate in rates.items()}

    frozen = optimizers.Frozen()
    assert named(optimizers.ByPath({"a/*": SGD(0.5), "*": frozen})) == {"": 0.5}
    muon = optimizers.Muon(0.5, others=SGD(0.25))
    assert named(muon) == {"": 0.5, "[others]": 0.25}
    nested = optimizers.ByPath({"a/*": muon, ("b/*", "c"): SGD(2.0)})
    assert named(optimizers.Chain(nested, optimizers.ClipByNorm(1.0))) == {
        "[a/*]": 0.5,
        "[a/*][others]": 0.25,
        "[b/*,c]": 2.0,
    }
    assert named(optimizers.ClipByNorm(1.0)) == {}


def test_frozen_leaves_have_no_part_in_the_norm_and_do_not_decay():
    params = two_parts()
    inside_out = optimizers.ByPath(
        {
            "head/*": optimizers.Chain(
                optimizers.ClipByGlobalNorm(1.0), optimizers.SGD(1.0)
            ),
            "*": optimizers.Frozen(),
        }
    )
    head_or_frozen = {"head/*": optimizers.SGD(1.0), "*": optimizers.Frozen()}
    outside_in = optimizers.Chain(
        optimizers.AddDecayedWeights(1e-9, on="*"),
        optimizers.Momentum(0.0),
        optimizers.ClipByGlobalNorm(1.0),
        optimizers.ByPath(head_or_frozen),
    )
    clipped, _ = inside_out.update(params, inside_out.init(params), params)
    np.testing.assert_allclose(fnn.tree.norm(clipped), 1, rtol=1e-6)
    np.testing.assert_allclose(clipped["head"]["kernel"], -(3**-0.5), rtol=1e-6)

    state = outside_in.init(params)
    assert not any(leaf.shape == (2, 2) for leaf in jax.tree.leaves(state))
    outside_in.update(params, state, params)
    around = optimizers.DecoupledDecay(optimizers.ByPath(head_or_frozen), 0.5, on="*")
    updates, _ = around.update(params, around.init(params), params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates["body"]))
    np.testing.assert_allclose(updates["head"]["bias"], -1.5)
    slow = optimizers.Lookahead(FINE_TUNE, period=1)
    state = slow.init(params)
    assert list(fnn.tree.flatten(state.slow)) == ["head/bias", "head/kernel"]
    updates, _ = slow.update(params, state, params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates["body"]))


def test_frozen_mask():
    params = two_parts()
    expected = {
        "body": {"bias": True, "kernel": True},
        "head": {"bias": False, "kernel": False},
    }
    nested = optimizers.ByPath({"body/*": optimizers.Frozen(), "*": FINE_TUNE.rules[0][1]})
    for optimizer in (
        FINE_TUNE,
        nested,
        optimizers.Chain(optimizers.ClipByValue(1.0), FINE_TUNE),
        optimizers.Lookahead(FINE_TUNE),
        optimizers.DecoupledDecay(FINE_TUNE, 0.1),
        optimizers.ByPath({"head/*": optimizers.Adam(0.1), "body/*": optimizers.Frozen()}),
    ):
        assert optimizers.frozen_mask(optimizer, params) == expected
    none = jax.tree.map(lambda _: False, params)
    assert optimizers.frozen_mask(optimizers.Adam(0.1), params) == none
    assert optimizers.frozen_mask(_Foreign(), params) == none


def test_gradients_of_frozen_leaves_may_be_left_out():
    params = two_parts()
    grads = params | {"body": {"bias": None, "kernel": None}}
    for optimizer in (
        FINE_TUNE,
        optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), FINE_TUNE),
        optimizers.Lookahead(FINE_TUNE),
        optimizers.DecoupledDecay(FINE_TUNE, 0.1),
    ):
        state = optimizer.init(params)
        updates, new = optimizer.update(grads, state, params)
        assert updates["body"] == {"bias": None, "kernel": None}
        chex.assert_trees_all_equal_shapes(new, state)
        moved = optimizers.apply_updates(params, updates)
        whole, _ = optimizer.update(params, state, params)
        chex.assert_trees_all_equal(moved, optimizers.apply_updates(params, whole))


class _Foreign:
    """Follows the protocol without being fnn's."""

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return grads, state


def test_optimizers_of_others_go_into_every_wrapper():
    params = two_parts()
    for optimizer in (
        optimizers.ByPath({"body/*": _Foreign(), "*": optimizers.Frozen()}),
        optimizers.Chain(_Foreign(), FINE_TUNE),
        optimizers.Lookahead(_Foreign()),
        optimizers.Muon(0.1, others=_Foreign()),
    ):
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        chex.assert_trees_all_equal_shapes(updates, params)
    blind = optimizers.DecoupledDecay(_Foreign(), 0.1)
    with pytest.raises(ValueError, match="whose state has a learning_rate"):
        blind.update(params, blind.init(params), params)


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis().get("flops", 0)


def test_jit_computes_no_gradients_of_frozen_leaves():
    model = fnn.Sequential(body=fnn.Dense(64), act=jax.nn.relu, head=fnn.Dense(4))
    x, key = jnp.ones(64), jax.random.key(0)
    params, _ = model.init(key, x)

    def step(optimizer, params, state):
        grads = jax.grad(lambda p: jnp.sum(model(p, x) ** 2))(params)
        return optimizer.update(grads, state, params)

    def work(optimizer):
        run = lambda params, state: step(optimizer, params, state)  # noqa: E731
        return flops(run, params, optimizer.init(params))

    clip, frozen = optimizers.ClipByGlobalNorm(1.0), optimizers.Frozen()
    everything = work(optimizers.Chain(clip, optimizers.SGD(0.1)))
    head = optimizers.ByPath({"head/*": optimizers.SGD(0.1), "*": frozen})
    assert work(optimizers.Chain(clip, head)) < 0.75 * everything
    assert work(optimizers.ByPath({"*": frozen})) == 0


def products(step, *arguments):
    """Count the products of matrices in a program as it is traced."""
    return str(jax.make_jaxpr(step)(*arguments)).count("dot_general")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_step_computes_no_gradients_of_frozen_leaves(accumulate):
    """Not even before XLA has looked: a dense layer's gradient is one product."""
    model = fnn.Sequential(body=fnn.Dense(4), act=jax.nn.relu, head=fnn.Dense(1))
    batch = jnp.ones((6, 3)), jnp.ones((6, 1))
    params, _ = model.init(jax.random.key(0), batch[0][0])
    objective = fnn.supervised(model, fnn.losses.squared_error)

    def traced(optimizer):
        step = fnn.make_step(objective, optimizer, accumulate=accumulate)
        start = fnn.TrainState.create(params, {}, optimizer, key=jax.random.key(1))
        moved, _ = jax.jit(step)(start, batch)
        chex.assert_trees_all_equal_shapes_and_dtypes(moved, start)
        assert (moved.params["head"]["kernel"] != params["head"]["kernel"]).any()
        return products(step, start, batch), moved

    adam = optimizers.Adam(0.1)
    all_products, _ = traced(adam)
    head_only, moved = traced(FINE_TUNE)
    chex.assert_trees_all_equal(moved.params["body"], params["body"])
    # Forward 2; backward the kernels' 2 and, between the layers, 1.
    assert (all_products, head_only) == (5, 3)


def test_frozen_leaves_have_no_part_in_per_example_norms():
    model = fnn.Sequential(body=fnn.Dense(4), act=jnp.tanh, head=fnn.Dense(1))
    x, y = jnp.ones((2, 3)), jnp.ones((2, 1))
    params, _ = model.init(jax.random.key(0), x[0])
    objective = fnn.supervised(model, fnn.losses.squared_error)
    clip = functools.partial(fnn.per_example.clipped_gradient, max_norm=1e-3)
    step = fnn.make_step(objective, FINE_TUNE, gradient=clip)
    start = fnn.TrainState.create(params, {}, FINE_TUNE, key=jax.random.key(1))
    moved, metrics = jax.jit(step)(start, (x, y))

    def loss(head):
        return fnn.losses.squared_error(model(params | {"head": head}, x[0]), y[0])

    expected = fnn.tree.norm(jax.grad(loss)(params["head"]))
    np.testing.assert_allclose(metrics["gradient_norm"], expected, rtol=1e-5)
    chex.assert_trees_all_equal(moved.params["body"], params["body"])


def test_by_path_is_not_changed_by_changing_the_dict_it_was_made_from():
    rules = {"*": optimizers.SGD(0.1)}
    by_path = optimizers.ByPath(rules)
    rules["*"] = optimizers.SGD(0.2)
    assert by_path == optimizers.ByPath({"*": optimizers.SGD(0.1)})
    assert repr(by_path) == "fnn.optimizers.ByPath({'*': fnn.optimizers.SGD(0.1)})"
    assert by_path.replace() == by_path
    other_order = optimizers.ByPath(dict(reversed(FINE_TUNE.rules)))
    assert other_order != FINE_TUNE


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"head/*": optimizers.SGD(0.1)},
            r"no optimizer for \['body/bias', 'body/kernel'\]",
        ),
        (
            {"*": optimizers.SGD(0.1), "tail/*": optimizers.Frozen()},
            r"'tail/\*' gets no leaf.*'body/bias', 'body/kernel', 'head/bias'",
        ),
        (
            {"*": optimizers.SGD(0.1), "head/*": optimizers.Frozen()},
            r"'head/\*' gets no leaf: it matches none, or only what the globs before",
        ),
    ],
)
def test_by_path_names_leaves_and_globs_left_over(rules, message):
    by_path, params = optimizers.ByPath(rules), two_parts()
    for call in (by_path.init, by_path.frozen, lambda p: by_path.update(p, ((), ()))):
        with pytest.raises(ValueError, match=message):
            call(params)
