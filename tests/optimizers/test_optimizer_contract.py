"""The promises of every optimizer, schedule, controller and average."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, over
from contracts.optimizers import (
    AVERAGES,
    CONTROLLERS,
    NEEDS_PARAMS,
    OPTIMIZERS,
    RATE_PER_ELEMENT,
    SCHEDULES,
)
from contracts.updates import SHAPES

import fnn
from fnn import optimizers, schedules
from fnn.values import fields_of

STEPS = 100
OVER_RATE = {name: row for name, row in OPTIMIZERS.items() if row.over_rate}


def parameters(dtype="float64"):
    """Return leaves of the shapes of the contract table, and an empty subtree."""
    kernel, bias, scalar = SHAPES.values()
    return {
        "a": {"kernel": example(kernel, dtype, seed=3)},
        "b": {"bias": example(bias, dtype, seed=4), "empty": {}},
        "d": example(scalar, dtype, seed=5),
    }


def rows(tree):
    """Return the elements of all leaves by step, (steps, elements)."""
    leaves = [np.reshape(leaf, (STEPS, -1)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=1)


@over(OPTIMIZERS)
def test_optimizer_follows_its_formula_for_100_steps(row, x64):
    """Compiled, in a scan; the first steps eagerly, too."""
    optimizer, params = row.make(), parameters()
    rng = np.random.default_rng(4)
    grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=(STEPS, *p.shape))), params)

    def step(carry, grads):
        params, state = carry
        updates, state = optimizer.update(grads, state, params)
        return (optimizers.apply_updates(params, updates), state), (params, updates)

    carry = params, optimizer.init(params)
    _, (path, updates) = jax.lax.scan(step, carry, grads)
    oracle = row.oracle()
    next(oracle)
    expected = [oracle.send(sent) for sent in zip(rows(grads), rows(path), strict=True)]
    np.testing.assert_allclose(rows(updates), expected, rtol=1e-9, atol=1e-12)
    for t in range(2):
        carry, (_, eager) = step(carry, jax.tree.map(lambda g, t=t: g[t], grads))
        compiled = jax.tree.map(lambda u, t=t: u[t], updates)
        chex.assert_trees_all_close(eager, compiled, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(OPTIMIZERS)
def test_optimizer_keeps_dtype_and_structure(row, dtype):
    optimizer, params = row.make(), parameters(dtype)
    state = optimizer.init(params)
    updates, new = optimizer.update(params, state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
    moved = optimizers.apply_updates(params, updates)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, params)
    chex.assert_tree_all_finite(moved)


@over(OPTIMIZERS)
def test_optimizer_bears_zero_gradients_in_any_dtype(row):
    for dtype in ("float32", "bfloat16", "float16"):
        optimizer, params = row.make(), parameters(dtype)
        zeros, state = fnn.tree.zeros_like(params), optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(zeros, state, params)
            chex.assert_tree_all_finite(updates)


@over({name: row for name, row in OPTIMIZERS.items() if "," not in name})
def test_optimizer_says_that_a_state_is_not_its_own(row):
    optimizer, params = row.make(), parameters("float32")
    own = jax.eval_shape(optimizer.init, params)
    for other in (None, params) if jax.tree.leaves(own) else ():
        if type(other) is not type(own):
            with pytest.raises(TypeError, match=r"a state that is not its own, .*; give"):
                optimizer.update(params, other, params)


@over({name: row for name, row in OPTIMIZERS.items() if name not in NEEDS_PARAMS})
def test_optimizer_has_the_same_updates_without_parameters(row):
    optimizer, params = row.make(), parameters("float32")
    state = optimizer.init(params)
    updates, _ = optimizer.update(params, state, params)
    chex.assert_trees_all_equal(optimizer.update(params, state)[0], updates)
    assert optimizer.update({}, optimizer.init({}))[0] == {}


@over({name: OPTIMIZERS[name] for name in sorted(NEEDS_PARAMS)})
def test_optimizer_says_that_it_needs_parameters(row):
    optimizer, params = row.make(), parameters("float32")
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"needs the parameters: call update\("):
        optimizer.update(params, state)
    assert optimizer.update({}, optimizer.init({}), {})[0] == {}


@over(OPTIMIZERS)
def test_optimizer_shares_no_buffers_with_its_parameters(row):
    """A training loop may donate both."""
    params = parameters("float32")
    leaves = jax.tree.leaves((params, row.make().init(params)))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("name", OVER_RATE)
def test_optimizer_maps_over_the_rate(name, x64):
    params, grads = parameters(), parameters()

    def run(rate):
        optimizer = OVER_RATE[name].over_rate(rate)
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(grads, state, params)
        return updates, optimizers.current_learning_rate(state)

    rates = jnp.array([0.01, 0.1, 1.0])
    mapped = jax.jit(jax.vmap(run))(rates)
    if name not in RATE_PER_ELEMENT:
        np.testing.assert_array_equal(mapped[1], rates)
    for i, rate in enumerate(rates):
        row_i = jax.tree.map(lambda leaf, i=i: leaf[i], mapped)
        chex.assert_trees_all_close(row_i, run(float(rate)), rtol=1e-12, atol=1e-15)


@over({name: row for name, row in OPTIMIZERS.items() if "," not in name})
def test_optimizer_takes_numbers_of_any_kind(row):
    """Every number may be NumPy's, an array or traced, as a search maps over it."""
    optimizer, params = row.make(), parameters("float32")
    numbers = {name: n for name, n in fields_of(optimizer).items() if isinstance(n, float)}

    def moved(**changed):
        changing = optimizer.replace(**changed)
        return changing.update(params, changing.init(params), params)[0]

    @jax.jit
    def run():
        as_numpy = [moved(**{name: np.float32(n)}) for name, n in numbers.items()]
        mapped = [
            jax.vmap(lambda n, name=name: moved(**{name: n}))(jnp.float32([n]))
            for name, n in numbers.items()
        ]
        return moved(), as_numpy, jax.tree.map(lambda leaf: leaf[0], mapped)

    expected, *others = run()
    for updates in jax.tree.leaves(others, is_leaf=lambda node: isinstance(node, dict)):
        chex.assert_trees_all_close(updates, expected, rtol=1e-5, atol=1e-6)


@over(OVER_RATE)
def test_optimizer_minimizes_a_quadratic(row):
    """The rate is an array here, and falls."""
    params, goal = {"kernel": jnp.array([[1.0, -2.0]])}, 3.0
    rates = 0.25 * (1 + jnp.cos(jnp.linspace(0, jnp.pi, 400)))

    def step(carry, rate):
        params, state = carry
        grads = jax.tree.map(lambda w: 2 * (w - goal), params)
        updates, state = row.over_rate(rate).update(grads, state, params)
        return (optimizers.apply_updates(params, updates), state), None

    start = params, row.over_rate(rates[0]).init(params)
    (params, _), _ = jax.lax.scan(step, start, rates)
    np.testing.assert_allclose(params["kernel"], goal, atol=1e-2)


@over({name: row for name, row in OPTIMIZERS.items() if "," not in name})
def test_optimizer_can_be_differentiated(row, x64):
    """Forward and backward, and also where gradients are zero, as for dead units."""
    optimizer, params = row.make(), parameters()
    grads = parameters() | {"d": jnp.zeros(())}
    state = optimizer.init(params)

    def moved(scale):
        updates, _ = optimizer.update(fnn.tree.scale(scale, grads), state, params)
        return fnn.tree.dot(updates, params)

    @jax.jit
    def derivatives(scale):
        return *jax.jvp(moved, (scale,), (1.0,)), jax.grad(moved)(scale)

    above, below, at = (np.asarray(derivatives(s)) for s in (0.5 + 1e-6, 0.5 - 1e-6, 0.5))
    _, forward, backward = at
    slope = (above[0] - below[0]) / 2e-6
    np.testing.assert_allclose(backward, slope, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(backward, forward, rtol=1e-8, atol=1e-12)
    assert np.isfinite(derivatives(0.0)).all()


@over({name: row for name, row in OPTIMIZERS.items() if "," not in name})
def test_optimizer_moves_a_stack_of_layers_as_it_moves_each(row, x64):
    """The stacked parameters of `Repeat`, and those of the same layers in a row."""
    shapes = {"kernel": (2, 2, 3), "bias": (2, 3)}
    kernel, bias = (example(shape, "float64", seed=6) for shape in shapes.values())
    nested = {"stack": {"stack": {"kernel": example((2, 1, 3, 2), "float64", seed=7)}}}
    params = {"a": {"stack": {"kernel": kernel}}, "b": {"stack": {"bias": bias}}}
    params |= {"d": jnp.ones(())}
    params["a"] |= {"nested": nested}

    def apart(tree):
        a, b = tree["a"]["stack"]["kernel"], tree["b"]["stack"]["bias"]
        inner = tree["a"]["nested"]["stack"]["stack"]["kernel"].reshape(2, 3, 2)
        return {
            "a": {f"copy_{i}": {"kernel": k} for i, k in enumerate([*a, *inner])},
            "b": {f"copy_{i}": {"bias": k} for i, k in enumerate(b)},
            "d": tree["d"],
        }

    def run(params):
        optimizer, grads = row.make(), jax.tree.map(jnp.cos, params)
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(grads, state, params)
            params = optimizers.apply_updates(params, updates)
        return params

    together, each = jax.jit(lambda params: (run(params), run(apart(params))))(params)
    chex.assert_trees_all_close(apart(together), each, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "unit_of_params"),
    [
        (lambda: optimizers.ClipByGlobalNorm(1.0), False),
        (lambda: optimizers.ClipByNorm(1.0), False),
        (lambda: optimizers.LAMB(1.0, b1=0.0, b2=0.0, weight_decay=0.0), True),
        (lambda: optimizers.Muon(1.0, 0.0), False),
    ],
    ids=["ClipByGlobalNorm", "ClipByNorm", "LAMB", "Muon"],
)
def test_optimizer_that_divides_by_a_norm_does_so_in_any_unit(make, unit_of_params):
    """The parameters for `LAMB`; for the others the gradients, which they normalize."""
    optimizer = make()
    update = jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0]["kernel"])
    vector, moves = jnp.array([[3.0, 4.0]]), {}
    for unit in (1.0, 1e-25, 1e20, 6e37):
        if unit_of_params:
            moves[unit] = update({"kernel": vector}, {"kernel": unit * vector}) / unit
        elif unit > 1e-20 or isinstance(optimizer, optimizers.Muon):
            moves[unit] = update({"kernel": unit * vector}, {"kernel": vector})
    for move in moves.values():
        np.testing.assert_allclose(move, moves[1.0], rtol=1e-5)
    if "Clip" in type(optimizer).__name__:
        np.testing.assert_allclose(moves[1e20], [[0.6, 0.8]], rtol=1e-6)


@over(SCHEDULES)
def test_schedule_agrees_with_formula(row, x64):
    schedule, steps = row.make(), np.arange(0, 60, 7)
    expected = [row.oracle(int(t)) for t in steps]
    eager = [schedule(int(t)) for t in steps]
    np.testing.assert_allclose(eager, expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.asarray(steps)), expected)


@over(SCHEDULES)
def test_schedule_makes_the_rate_of_an_optimizer(row):
    schedule = row.make()
    assert schedule(jnp.int32(3)).dtype == jnp.float32
    sgd, grads = optimizers.SGD(schedule), {"w": jnp.ones(2)}
    state, seen = sgd.init(grads), []
    for _ in range(3):
        updates, state = sgd.update(grads, state)
        seen.append(-updates["w"][0])
    np.testing.assert_allclose(seen, [row.oracle(t) for t in range(3)], rtol=1e-6)


VALUES = example((60,), "float32", seed=7)


@over(CONTROLLERS)
def test_controller_agrees_with_its_rule(row, x64):
    controller, values = row.make(), np.asarray(VALUES, np.float64)
    _, scales = jax.lax.scan(controller.update, controller.init(), jnp.asarray(values))
    np.testing.assert_allclose(scales, row.oracle(values), rtol=1e-12)
    mapped = jnp.stack([VALUES, VALUES + 1])
    states = jax.vmap(lambda _: controller.init())(jnp.zeros(2))
    jax.jit(jax.vmap(controller.update))(states, mapped[:, 0])


@over(CONTROLLERS)
def test_controller_keeps_the_structure_of_its_state(row):
    controller = row.make()
    state, scale = controller.update(controller.init(), 1.0)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, controller.init())
    assert scale.dtype == jnp.float32
    assert scale == 1


@over(AVERAGES)
def test_average_agrees_with_its_formula(row, x64):
    averaging, values = row.make(), np.asarray(VALUES, np.float64)

    def step(state, w):
        state = averaging.update({"w": w}, state)
        return state, averaging.average(state)["w"]

    _, averages = jax.lax.scan(step, averaging.init({"w": jnp.zeros(())}), values)
    np.testing.assert_allclose(averages, row.oracle(values), rtol=1e-10)


@over(AVERAGES)
def test_average_starts_from_the_parameters_and_is_wide(row):
    averaging, params = row.make(), parameters("bfloat16")
    state = averaging.init(params)
    chex.assert_trees_all_equal(averaging.average(state), fnn.tree.cast(params, "float32"))
    new = averaging.update(params, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
    assert averaging.average(averaging.init({})) == {}


@over({**CONTROLLERS, **AVERAGES})
def test_controller_and_average_are_values(row):
    value = row.make()
    assert hash(value) == hash(row.make())
    assert eval(repr(value), {"fnn": fnn}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert value.replace() == value


def test_every_public_name_has_a_row():
    rows = {**OPTIMIZERS, **SCHEDULES, **CONTROLLERS, **AVERAGES}
    made = {type(row.make()) for row in rows.values()}
    for module in (optimizers, schedules):
        for name in dir(module):
            thing = getattr(module, name)
            if isinstance(thing, type) and issubclass(thing, fnn.Value):
                assert thing in made | {optimizers.Optimizer, optimizers.Leafwise}, name
