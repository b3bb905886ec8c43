"""The course's examples show what they say, from the perceptron to losses."""

import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Return a function that says whether a picture was drawn into `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    return lambda name: matplotlib.image.imread(f"outputs/{name}.png").std() > 0.05


def test_distant_points_turn_the_line_and_not_logistic_regression(drawn):
    import line_against_logistic

    fitted = line_against_logistic.main(epochs=400)
    (near_line, far_line), (near_curve, far_curve) = fitted.values()
    x, labels = line_against_logistic.examples(20)
    slope, intercept = np.polyfit(x[:, 0], labels[:, 0], 1)
    np.testing.assert_allclose(far_line[:2], (slope, intercept), atol=2e-3)
    assert far_line.accuracy < 0.9
    assert near_line.accuracy == near_curve.accuracy == far_curve.accuracy == 1
    assert far_line.threshold > near_line.threshold + 0.5
    assert abs(far_curve.threshold - near_curve.threshold) < 0.1
    assert drawn("line_against_logistic")


def test_deltas_by_hand_are_the_gradient(drawn):
    import backpropagation

    grads, gap = backpropagation.main(widths=(8, 5, 3))
    by_hand = backpropagation.weights(grads)
    np.testing.assert_allclose(by_hand[4:], (0.0602, 0.0493), atol=5e-5)
    assert gap < 1e-6
    assert drawn("backpropagation")


def test_deltas_by_hand_are_slopes_of_the_error():
    import backpropagation as example

    x, y, params = example.X, example.TARGET, example.THREE
    grads = example.backward(params, example.forward(params, x), y)
    step = 1e-2

    def error(w):
        bumped = params["dense_0"]["kernel"].at[1, 0].set(w)
        layers = params | {"dense_0": params["dense_0"] | {"kernel": bumped}}
        return 0.5 * (example.forward(layers, x)[-1][0] - y[0]) ** 2

    slope = (error(0.1 + step) - error(0.1 - step)) / (2 * step)
    np.testing.assert_allclose(grads["dense_0"]["kernel"][1, 0], slope, rtol=1e-3)


@pytest.mark.slow
def test_hidden_layers_bend_the_border(drawn):
    import decision_regions as example

    depths = {name: example.DEPTHS[name] for name in list(example.DEPTHS)[1::2]}
    widths = {name: example.WIDTHS[name] for name in list(example.WIDTHS)[::3]}
    curves = {name: example.CURVES[name] for name in list(example.CURVES)[::3]}
    accuracies, errors, gap = example.main(100, depths, widths, curves)
    chain, two_layers, one_unit, ten_units = accuracies.values()
    assert two_layers > chain + 0.2
    assert ten_units > one_unit + 0.2
    few, many = errors.values()
    assert many < few / 2
    assert gap < 1e-4
    assert drawn("decision_regions")


def test_only_the_right_initialization_keeps_the_signal(drawn):
    import initialization

    signals, units = initialization.main(depth=10, width=64, epochs=3)
    tanh, relu = signals.values()
    assert relu["He"][-1] > 0.4
    assert tanh["Glorot"][-1] > 0.1
    assert relu["Glorot"][-1] < 0.05
    assert tanh["Gaussian, 0.01"][-1] < 1e-8
    assert not tanh["zero"].any()
    assert units["zero"][0] < 1e-6
    assert units["Glorot"][0] > 0.1
    assert units["Glorot"][1] > units["zero"][1] + 0.5
    assert drawn("initialization")


def test_gradients_vanish_and_explode_until_cured(drawn):
    import vanishing

    faults, cures, clipping = vanishing.main(depth=8).values()
    small, glorot, large = ((line[0] / line[-1]) ** (1 / 7) for line in faults.values())
    assert small < glorot < 0.3
    np.testing.assert_allclose(large, 1.5, rtol=0.2)
    for line in cures.values():
        assert 0.1 < line[0] / line[-1] < 10
    assert np.linalg.norm(clipping["by global norm 1"]) <= 1 + 1e-6
    assert np.linalg.norm(clipping["no clipping"]) > 5
    assert drawn("vanishing")


def test_a_convolution_is_a_banded_matrix(drawn):
    import convolution_matrix as example

    assert max(example.main().values()) < 1e-6
    band = 0.5 * (np.eye(5, 6) + np.eye(5, 6, 1))
    np.testing.assert_array_equal(example.matrix_of(example.AVERAGE, (6,)), band)
    assert drawn("convolution_matrix")


def test_squared_error_is_flat_where_cross_entropy_is_not(drawn):
    import loss_shapes

    flat, steps = loss_shapes.main()
    assert flat["squared error"] > 0.5
    assert flat["cross-entropy"] < 0.05
    assert steps["squared error"] > 10 * steps["cross-entropy"]
    np.testing.assert_allclose(loss_shapes.house_error(0.5), 0.5833, atol=5e-5)
    assert drawn("loss_shapes")
