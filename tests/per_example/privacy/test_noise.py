"""The private gradient: as noisy as it says, whatever the examples are."""

import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.per_example import linear
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fnn
from fnn.per_example import PrivateGradient, clipped_gradient, private_gradient


def noise_of(params, key, sigma=2.0):
    """Return the private gradient of no examples: only noise is left, of deviation 0.3."""

    def loss(params):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))

    def with_example(params, x):
        return loss(params) * x

    private = private_gradient(with_example, 1.5, sigma, normalize_by=10.0)
    batch = jnp.ones(4)
    nobody = jnp.zeros(4, bool)
    return jax.jit(private)(params, batch, mask=nobody, key=key).gradient, private


def test_noise_is_normal_with_the_stated_deviation():
    n = 40_000
    noise, private = noise_of({"w": jnp.zeros(n)}, jax.random.key(0))
    assert private.deviation == pytest.approx(0.3)
    assert private.clip.sensitivity("replace") == pytest.approx(0.3)  # 2 · 1.5 / 10
    z = np.sort(np.asarray(noise["w"], np.float64)) / 0.3
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.std() - 1) < 5 / np.sqrt(2 * n)
    normal = statistics.NormalDist()
    below = np.array([normal.cdf(value) for value in z[::100]])
    assert np.abs(below - np.arange(0, n, 100) / n).max() < 1.7 / np.sqrt(n)  # Kolmogorov


def test_noise_is_independent_across_parameters_and_keys():
    n = 20_000
    params = {"a": jnp.zeros(n), "b": {"c": jnp.zeros(n)}, "d": jnp.zeros((n // 2, 2))}
    draws = [noise_of(params, jax.random.key(seed))[0] for seed in (0, 1, 0)]
    rows = [np.ravel(leaf) for draw in draws[:2] for leaf in jax.tree.leaves(draw)]
    correlation = np.corrcoef(rows) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(n)
    np.testing.assert_array_equal(draws[0]["a"], draws[2]["a"])


def test_noise_does_not_depend_on_the_examples():
    x = jnp.array([[3.0, 4.0], [0.1, 0.2]])
    private = private_gradient(linear, 1.0, 1.0, normalize_by=2.0)
    w, key = jnp.zeros(2), jax.random.key(7)
    noisy = jax.jit(private)
    one = noisy(w, x, key=key).gradient - jax.jit(private.clip)(w, x).gradient
    y = jnp.full((2, 2), jnp.nan)
    other = noisy(w, y, key=jax.random.clone(key)).gradient
    np.testing.assert_allclose(one, other, atol=1e-6)


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
ROW = st.lists(NUMBERS, min_size=3, max_size=3)
SILENT = private_gradient(linear, 0.7, 0.0, normalize_by=2.0)
SILENT_COMPILED = jax.jit(SILENT)


@settings(max_examples=40)
@given(rows=st.lists(ROW, min_size=3, max_size=3), z=ROW)
@example(rows=[[0.0] * 3, [1.0, 0.0, 3e38], [0.0] * 3], z=[0.0] * 3)
def test_no_example_moves_the_sum_by_more_than_the_sensitivity(rows, z):
    """NaN, infinity and overflow included; the masked row is one that was not drawn."""

    def gradient(rows, drawn=(True, True, True)):
        x, mask = jnp.asarray(rows, jnp.float32), jnp.asarray(drawn)
        result = SILENT_COMPILED(jnp.zeros(3), x, mask=mask, key=jax.random.key(0))
        return np.asarray(result.gradient, np.float64)

    whole, slack = gradient(rows), 1e-6
    removed = np.linalg.norm(gradient(rows, (True, False, True)) - whole)
    zeroed = np.linalg.norm(gradient([rows[0], [0.0] * 3, rows[2]]) - whole)
    replaced = np.linalg.norm(gradient([rows[0], z, rows[2]]) - whole)
    assert removed <= SILENT.clip.sensitivity("add_or_remove") + slack
    assert zeroed <= SILENT.clip.sensitivity("zero_out") + slack
    assert replaced <= SILENT.clip.sensitivity("replace") + slack


def training(sigma):
    gradient = functools.partial(
        private_gradient, max_norm=1.0, noise_multiplier=sigma, normalize_by=4.0
    )
    objective = fnn.supervised(fnn.Dense(2, bias=False), fnn.losses.squared_error)
    optimizer = fnn.optimizers.SGD(0.1)
    params = {"kernel": jnp.ones((3, 2))}
    key = jax.random.key(1)
    train_state = fnn.TrainState.create(params, {}, optimizer, key=key)
    return fnn.make_step(objective, optimizer, gradient=gradient), train_state


def test_private_steps_in_a_scan_are_those_of_a_loop():
    x, y = jnp.ones((5, 4, 3)), jnp.zeros((5, 4, 2))
    mask = jnp.arange(4)[None] < jnp.array([4, 3, 0, 1, 2])[:, None]
    step, start = training(1.0)
    scanned, _ = jax.jit(lambda s: jax.lax.scan(step, s, (x, y, mask)))(start)
    state, compiled = start, jax.jit(step)
    for batch in zip(*map(np.asarray, (x, y, mask)), strict=True):
        state, _ = compiled(state, batch)
    np.testing.assert_allclose(
        scanned.params["kernel"], state.params["kernel"], rtol=1e-5, atol=1e-6
    )


def test_steps_draw_noise_of_their_own():
    """Batches of which no example counts leave only the noise, of deviation 0.1 / 4."""
    step, state = training(1.0)
    batch = jnp.ones((4, 3)), jnp.zeros((4, 2)), jnp.zeros(4, bool)
    compiled, steps = jax.jit(step), []
    for _ in range(200):
        before = state.params["kernel"]
        state, _ = compiled(state, batch)
        steps.append(np.ravel(np.asarray(state.params["kernel"]) - before))
    steps = np.array(steps)
    assert len(np.unique(steps.round(6))) > 0.95 * steps.size
    assert abs(steps.std() / 0.025 - 1) < 5 / np.sqrt(2 * steps.size)


def test_private_training_without_noise_is_clipped_training():
    def train(gradient):
        x = jnp.linspace(-1, 1, 16)[:, None]
        return fnn.fit(
            fnn.Dense(1),
            fnn.losses.squared_error,
            fnn.optimizers.SGD(0.1),
            (x, 3 * x),
            key=jax.random.key(0),
            epochs=3,
            batch_size=8,
            gradient=gradient,
            progress=False,
        )

    options = {"max_norm": 0.5, "normalize_by": 8.0}
    silent = functools.partial(private_gradient, noise_multiplier=0.0, **options)
    clipped = functools.partial(clipped_gradient, **options)
    np.testing.assert_allclose(
        train(silent).params["kernel"], train(clipped).params["kernel"], rtol=1e-6
    )


def test_it_is_a_value():
    groups = ["a", ["b", "c"]]
    private = private_gradient(
        fnn.losses.squared_error, [1.0, 2.0], 1.1, normalize_by=8.0, clipping=groups
    )
    assert eval(repr(private), {"fnn": fnn, "jax": jax}) == private
    assert private.deviation == pytest.approx(1.1 * 5**0.5 / 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_norm": float("inf")}, "max_norm must be finite and above 0, got inf"),
        ({"max_norm": 0.0}, "max_norm must be finite and above 0, got 0.0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier must be in"),
        ({"normalize_by": 0.0}, "normalize_by must be above 0"),
        ({"clipping": "global"}, "clipping must be one of"),
    ],
)
def test_options_are_checked(options, message):
    usual = {"max_norm": 1.0, "noise_multiplier": 1.0, "normalize_by": 1.0}
    with pytest.raises(ValueError, match=message):
        private_gradient(linear, **{**usual, **options})


def test_calls_are_checked():
    private = private_gradient(linear, 1.0, 1.0, normalize_by=1.0)
    w, x = jnp.zeros(2), jnp.ones((4, 2))
    with pytest.raises(ValueError, match="private_gradient needs a key"):
        private(w, x)
    with pytest.raises(TypeError, match="parameters of float32 at least"):
        private(w.astype("bfloat16"), x, key=jax.random.key(0))
    with pytest.raises(ValueError, match="zero_nonfinite=True"):
        PrivateGradient(clipped_gradient(linear, 1.0), 1.0)
    with pytest.raises(TypeError, match="must be a ClippedGradient"):
        PrivateGradient(linear, 1.0)
