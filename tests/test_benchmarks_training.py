"""Shared by the rivals of the training step: network sizes and achieved FLOP/s."""

import numpy as np
import pytest

from benchmarks import ceiling, results
from benchmarks.suite import Row
from benchmarks.training import SUITE, networks
from benchmarks.training.achieved import achieved
from benchmarks.training.networks import Block, Case


def test_names_of_cases_are_read():
    assert Case.parse("lenet, batch 32") == ("lenet", 32, False)
    assert Case.parse("resnet50, batch 64, bfloat16") == ("resnet50", 64, True)


@pytest.mark.parametrize(
    ("network", "parameters"),  # as published; of the dense ones by hand
    [
        ("mlp-small", 101_770),
        ("mlp-large", 669_706),
        ("lenet", 61_706),
        ("cnn", 421_642),
        ("resnet20", 272_474),
        ("resnet50", 25_557_032),
        ("autoencoder", 435_536),
    ],
)
def test_networks_have_as_many_parameters(network, parameters):
    assert sum(array.size for array in networks.weights(network)) == parameters


def test_blocks_project_where_the_features_change():
    assert Block(16, 16, 1, False).convolutions == [(3, 16, 16, 1), (3, 16, 16, 1)]
    assert [b.projects for b in networks.blocks("resnet20")] == [False] * 3 + [
        *(True, False, False),
        *(True, False, False),
    ]
    assert [b.projects for b in networks.blocks("resnet50")].count(True) == 4


def test_channels_first_computes_the_same():
    last, first = networks.weights("cnn"), networks.outputs_first("cnn")
    assert first[2].shape == (64, 32, 3, 3)
    assert first[2][5, 7, 2, 1] == last[2][2, 1, 7, 5]
    image = np.random.default_rng(0).normal(size=(7, 7, 64))
    np.testing.assert_allclose(
        first[4] @ image.transpose(2, 0, 1).ravel(), image.ravel() @ last[4], rtol=1e-5
    )


def test_achieved_flops_are_beside_the_ceiling(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    about = {"device": "A", "platform": "gpu", "cores": 4, "versions": {}}
    row = Row("mlp-small, batch 32", "raw JAX", "", 1, [0.5], [0], {"work, GFLOP": 40.0})
    other = Row("mlp-small, batch 32", "fnn", "", 1, [0.25, 0.2, 0.4], [0, 1, 2])
    assert achieved(about, [other, row])[-1] == "| mlp-small, batch 32 | 160 | 80 |"
    top = Row("1000, float32", "JAX", "", 1, [0.08], [0])  # 8 · 2 · 10⁹ operations
    results.write(results.path("ceiling", about), about, [top])
    assert ceiling.gflops(top) == pytest.approx(200)
    lines = achieved(about, [other, row])
    assert "200 in float32" in lines[0]
    assert lines[-1] == "| mlp-small, batch 32 | 160 (80%) | 80 (40%) |"


def test_the_suite_is_fnn_beside_nine_rivals():
    assert list(SUITE.rivals)[:2] == ["fnn", "raw JAX"]
    assert len(SUITE.rivals) == 10
    assert len(SUITE.cases) == 18
