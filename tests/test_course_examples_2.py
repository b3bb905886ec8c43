"""The examples of optimizing, regularizing and looking inside show what they claim."""

import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))


def assert_drawn(path):
    assert matplotlib.image.imread(path).std() > 0.05


def test_optimizers_pass_what_stops_gradient_descent(tmp_path, monkeypatch):
    import optimizers

    names = ("long bowl", "plateau", "local minima")
    surfaces = {name: optimizers.SURFACES[name] for name in names}
    monkeypatch.setattr(optimizers, "SURFACES", surfaces)
    race = (optimizers.SGD, optimizers.Momentum, optimizers.Adam)
    monkeypatch.setattr(optimizers, "OPTIMIZERS", race)
    found = optimizers.main(outputs=str(tmp_path))

    def height(name, optimizer):
        return float(surfaces[name].function(found[name][optimizer][-1]))

    assert height("plateau", "SGD") > 0.99  # it never leaves
    assert height("plateau", "Adam") < 1e-3
    assert height("local minima", "SGD") > 0.3  # it stays in another minimum
    assert height("local minima", "Momentum") < 1e-3  # it rolls on
    assert height("long bowl", "Momentum") < 0.1 * height("long bowl", "SGD")
    assert_drawn(tmp_path / "optimizers.png")


def test_schedules(tmp_path):
    import schedules

    rates = schedules.main(outputs=str(tmp_path))
    assert len(rates) == 11
    for name in schedules.DECAYS:
        assert np.all(np.diff(rates[name]) <= 0)
    for name in ("Warmup, CosineDecay", "OneCycle"):
        assert 10 < np.argmax(rates[name]) < 50
    falls = np.flatnonzero(np.diff(rates["ReduceOnPlateau"]))
    np.testing.assert_array_equal(np.diff(falls), 15)
    assert np.max(rates["BoldDriver"]) > 0.1 > rates["BoldDriver"][-1]
    assert_drawn(tmp_path / "schedules.png")


@pytest.mark.slow
def test_larger_batches_bear_higher_rates_and_take_longer(tmp_path, monkeypatch):
    import batch_sizes

    monkeypatch.setattr(batch_sizes, "RATES", batch_sizes.RATES[::4])
    losses = batch_sizes.main((4, 64), epochs=2, outputs=str(tmp_path))
    best = {size: np.nanargmin(by_rate[:, -1]) for size, by_rate in losses.items()}
    assert best[4] < best[64]
    middle = len(batch_sizes.RATES) // 2
    ends = [by_rate[middle, -1] for by_rate in losses.values()]
    assert ends == sorted(ends)
    for by_rate in losses.values():  # too low and too high
        assert by_rate[[0, -1], -1].min() > 1.5 * np.nanmin(by_rate[:, -1])
    assert_drawn(tmp_path / "batch_sizes.png")


@pytest.mark.slow
def test_overfitting_and_its_cures(tmp_path):
    import overfitting

    names = ("no cure", "noise on inputs")
    settings = {name: overfitting.SETTINGS[name] for name in names}
    accuracies = overfitting.main(settings, epochs=50, seeds=(0,), outputs=str(tmp_path))
    worst, cured = (accuracies[name][0] for name in names)
    assert worst < 0.8
    assert cured > worst + 0.05
    assert_drawn(tmp_path / "overfitting.png")


@pytest.mark.slow
def test_features(tmp_path):
    import features

    seen = features.main(epochs=6, outputs=str(tmp_path))
    assert seen.weights.shape == (16, 8, 8)
    assert seen.maps.shape == (8, 8, 16)
    np.testing.assert_array_equal(seen.maps.min(), 0)  # of a rectified convolution
    assert seen.confusion.sum() == 359
    right = np.trace(seen.confusion) / 359
    np.testing.assert_allclose(seen.accuracies["convolutional"], right, rtol=1e-6)
    assert right > 0.9
    assert right > seen.accuracies["perceptron"] > 0.5
    for name in ("features", "mistakes"):
        assert_drawn(tmp_path / f"{name}.png")


@pytest.mark.slow
def test_wrong_labels_have_the_longest_gradients(tmp_path):
    import gradient_norms

    before, after, wrong = gradient_norms.main(outputs=str(tmp_path))
    assert before[wrong].mean() < 1.5 * before[~wrong].mean()
    assert after[wrong].mean() > 4 * after[~wrong].mean()
    assert_drawn(tmp_path / "gradient_norms.png")


@pytest.mark.slow
def test_adam_is_ahead_of_gradient_descent_on_mnist(mnist_folder, tmp_path, monkeypatch):
    import adam_mnist

    import fnn

    race = {name: adam_mnist.RACE[name] for name in ("SGD", "Adam")}
    monkeypatch.setattr(adam_mnist, "RACE", race)
    costs = adam_mnist.main(
        str(mnist_folder),
        "cnn",  # for its rates, which suit this small one too
        model=fnn.models.mlp(100, 10, dropout=0.5),
        epochs=4,
        images=2560,
        outputs=str(tmp_path),
    )
    sgd, adam = costs.values()
    assert adam[-1] < sgd[-1] < 0.8 * sgd[0]
    assert_drawn(tmp_path / "adam_mnist_cnn.png")
