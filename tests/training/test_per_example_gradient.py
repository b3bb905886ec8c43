"""Gradients that remember something: in a step, in `fit`, in `train`, after a kill."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import losses, optimizers, per_example
from fnn.per_example import Clipped, clipped_gradient
from fnn.training import PerExampleGradient
from fnn.training.running import resumption, runner

BATCH = 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype("float32")
Y = X[:, :1] - 2 * X[:, 1:2]
MODEL, SGD = fnn.Dense(1, bias=False), optimizers.SGD(0.1)
CLIP = functools.partial(clipped_gradient, max_norm=1.0, normalize_by=float(BATCH))


class ToMeanNorm(PerExampleGradient):
    """Clip to the running mean of the norms, which begins with 1."""

    decay: float = 0.5

    def init(self, params):
        return {"bound": 1.0, "steps": jnp.zeros((), jnp.int32)}

    def __call__(self, loss, *, has_aux):
        compute_all = per_example.gradients(loss, has_aux=has_aux)

        def compute(gradient_state, params, *batch, mask=None, key=None):
            g, bound = compute_all(params, *batch), gradient_state["bound"]
            norms = g.norms()
            counted = jnp.ones(norms.shape, bool) if mask is None else mask
            weights = jnp.where(counted, jnp.minimum(1, bound / norms), 0)
            count = counted.sum(dtype=norms.dtype)
            share = jnp.sum(counted & (norms > bound), dtype=norms.dtype) / count
            total, finite = g.weighted_sum(weights / BATCH), jnp.isfinite(norms)
            clipped = Clipped(total, g.losses, g.aux, norms, share, finite, counted)
            mean = jnp.where(counted, norms, 0).sum() / count
            bound = self.decay * bound + (1 - self.decay) * mean
            return clipped, {"bound": bound, "steps": gradient_state["steps"] + 1}

        return compute


class Remembering(PerExampleGradient):
    """A function that clips, beside a state that nothing depends on."""

    def init(self, params):
        return (jnp.zeros((), jnp.int32),)

    def __call__(self, loss, *, has_aux):
        clip = CLIP(loss, has_aux=has_aux)
        return lambda state, *batch, **named: (clip(*batch, **named), (state[0] + 1,))


def by_hand(w, batches):
    """Return the weights after SGD(0.1) by `ToMeanNorm`, and the bounds on the way."""
    bounds = [1.0]
    for x, y in batches:
        each = 2 * x * (x @ w - y)  # the gradient of (x w - y)², (examples, 3)
        norms = np.linalg.norm(each, axis=1)
        factors = np.minimum(1, bounds[-1] / norms)
        w = w - 0.1 * (factors @ each / BATCH)[:, None]
        bounds.append(0.5 * bounds[-1] + 0.5 * norms.mean())
    return w, bounds


def batches_of(epochs):
    """Yield the batches of `fit` for the key 0, in float64, without what fills them up."""
    _, order_key, _ = jax.random.split(jax.random.key(0), 3)
    for epoch in range(epochs):
        key = jax.random.fold_in(order_key, epoch)
        order = np.asarray(fnn.data.permutation(key, len(X)))
        for first in range(0, len(X), BATCH):
            rows = order[first : first + BATCH]
            yield X[rows].astype(np.float64), Y[rows].astype(np.float64)


def fit(folder=None, **changes):
    arguments = {
        "optimizer": SGD,
        "data": (X, Y),
        "key": jax.random.key(0),
        "epochs": 4,
        "batch_size": BATCH,
        "gradient": ToMeanNorm(),
        "params": {"kernel": jnp.zeros((3, 1))},
        "progress": False,
    }
    loss = losses.squared_error
    return fnn.fit(MODEL, loss, checkpoint=folder, **(arguments | changes))


def make_step(gradient, optimizer=SGD, model=MODEL, **options):
    objective = fnn.supervised(model, losses.squared_error)
    return fnn.make_step(objective, optimizer, gradient=gradient, **options)


def state_before(gradient, params, optimizer=SGD):
    return fnn.TrainState.create(
        params, {}, optimizer, key=jax.random.key(1), gradient=gradient
    )


def saved(folder):
    """Return the arrays of the newest checkpoint, by path."""
    path = max(folder.glob("0*.safetensors"))
    return fnn.tree.flatten(fnn.checkpoint.load(path))


def test_each_step_takes_the_state_of_the_one_before():
    step, params = jax.jit(make_step(ToMeanNorm())), {"kernel": jnp.zeros((3, 1))}
    train_state, bounds = state_before(ToMeanNorm(), params), [1.0]
    batches = [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[2:6], Y[2:6])]
    for batch in batches:
        train_state, _ = step(train_state, batch)
        bounds.append(train_state.gradient_state["bound"])
    w, expected = by_hand(np.zeros((3, 1)), batches)
    np.testing.assert_allclose(bounds, expected, rtol=1e-5)
    np.testing.assert_allclose(train_state.params["kernel"], w, rtol=1e-5, atol=1e-6)
    assert train_state.gradient_state["steps"] == 3


def test_fit_and_train_hand_the_state_on_and_checkpoints_save_it(tmp_path):
    """Over epochs whose last batch is filled up."""
    result = fit(tmp_path)
    w, bounds = by_hand(np.zeros((3, 1)), batches_of(4))
    np.testing.assert_allclose(result.params["kernel"], w, rtol=1e-4, atol=1e-5)
    arrays = saved(tmp_path)
    state = "carry/train_state/gradient_state"
    np.testing.assert_allclose(arrays[f"{state}/bound"], bounds[-1], rtol=1e-4)
    assert arrays[f"{state}/steps"] == 12
    trained = fnn.train(
        fnn.supervised(MODEL, losses.squared_error),
        optimizers.SGD(0.1),
        (X, Y),
        key=jax.random.key(0),
        epochs=4,
        batch_size=BATCH,
        gradient=ToMeanNorm(),
        params={"kernel": jnp.zeros((3, 1))},
    )
    last = trained.train_state
    np.testing.assert_allclose(last.params["kernel"], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last.gradient_state["bound"], bounds[-1], rtol=1e-4)


class StopError(Exception):
    """The exception that ends training in the middle."""


def test_it_is_resumed_to_the_same_bits_from_the_middle_of_an_epoch(tmp_path, monkeypatch):
    """Killed where step 8 of 12 is done, which is batch 2 of an epoch of 3."""
    expected = fit()
    monkeypatch.setattr(resumption, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(runner, "FIRST_PIECE", 1)
    monkeypatch.setattr(runner, "SECONDS_PER_PIECE", 0.0)
    save = resumption._Saver.save

    def killed(self, position, *, now=False):
        save(self, position, now=now)
        if position.carry.train_state.step == 8:
            raise StopError

    with monkeypatch.context() as patched:
        patched.setattr(resumption._Saver, "save", killed)
        with pytest.raises(StopError):
            fit(tmp_path)
    assert saved(tmp_path)["carry/train_state/gradient_state/steps"] == 8
    resumed = fit(tmp_path)
    chex.assert_trees_all_equal(resumed.params, expected.params)
    np.testing.assert_array_equal(
        resumed.history["gradient_norm"], expected.history["gradient_norm"]
    )


def test_a_function_has_no_state_and_changes_no_file(tmp_path):
    fit(tmp_path, gradient=CLIP, epochs=1)
    kernel = "carry/train_state/params/kernel"
    assert kernel in saved(tmp_path)
    assert not [path for path in saved(tmp_path) if "gradient_state" in path]


def test_a_state_that_nothing_depends_on_changes_no_bit():
    """Frozen parameters have no part in the norms, with a state or without."""
    model = fnn.Sequential(fnn.Dense(5), jnp.tanh, fnn.Dense(1))
    params, _ = jax.jit(model.init)(jax.random.key(0), X[0])
    frozen = optimizers.ByPath({"dense_0/*": optimizers.Frozen(), "*": optimizers.SGD(0.1)})
    ends = []
    for gradient in (CLIP, Remembering()):
        step = jax.jit(make_step(gradient, frozen, model))
        train_state = state_before(gradient, params, frozen)
        ends.append(step(train_state, (X[:4], Y[:4])))
    (function, reported), (remembering, reported_too) = ends
    chex.assert_trees_all_equal(remembering.params, function.params)
    chex.assert_trees_all_equal(reported_too, reported)
    assert (function.gradient_state, remembering.gradient_state) == ((), (1,))


def test_a_mesh_holds_the_state():
    one, many = fit(), fit(mesh=fnn.sharding.make_mesh(devices=jax.devices()[:1]))
    chex.assert_trees_all_close(many.params, one.params, rtol=1e-6)


def test_a_tuple_of_five_is_a_train_state_without_a_gradient_state():
    params = {"kernel": jnp.zeros((3, 1))}
    five = tuple(state_before(None, params))[:5]
    after, _ = make_step(None)(five, (X[:4], Y[:4]))
    assert (after.step, after.gradient_state) == (1, ())


class Forgetful(ToMeanNorm):
    """It returns another state than it was given."""

    def __call__(self, loss, *, has_aux):
        compute = super().__call__(loss, has_aux=has_aux)

        def forgetting(*arguments, **named):
            clipped, state = compute(*arguments, **named)
            return clipped, {"bound": state["bound"]}

        return forgetting


def test_bad_gradients_are_named():
    params, batch = {"kernel": jnp.zeros((3, 1))}, (X[:4], Y[:4])
    with pytest.raises(ValueError, match=r"TrainState.create\(..., gradient=gradient\)"):
        make_step(ToMeanNorm())(state_before(None, params), batch)
    with pytest.raises(ValueError, match=r"init returns; got \{bound: float32\[\]\}"):
        make_step(Forgetful())(state_before(Forgetful(), params), batch)
    with pytest.raises(TypeError, match=r"gradient is the class .*ToMeanNorm"):
        make_step(ToMeanNorm)
    with pytest.raises(ValueError, match="give microbatch"):
        make_step(ToMeanNorm(), accumulate=2)

    class Objective:
        def __call__(self, params, state, batch, key): ...

        def per_example_gradient(self, *arguments): ...

    with pytest.raises(TypeError, match="method per_example_gradient_with_state"):
        fnn.make_step(Objective(), optimizers.SGD(0.1), gradient=ToMeanNorm())
