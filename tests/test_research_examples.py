"""The examples of per-example gradients run, and show what they claim."""

import sys
from pathlib import Path

import jax
import matplotlib.image
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))


@pytest.mark.slow
def test_batches_beyond_the_noise_scale_save_few_steps(tmp_path):
    import noise_scale

    scales, steps = noise_scale.main(sizes=(4, 32, 512), outputs=str(tmp_path))
    assert 32 < sorted(scales)[len(scales) // 2] < 512
    assert steps[4] / steps[32] > 2 * steps[32] / steps[512]
    assert scales[-1] > scales[len(scales) // 10]
    assert matplotlib.image.imread(tmp_path / "noise_scale.png").std() > 0.05


@pytest.mark.slow
def test_influence_finds_wrong_labels(tmp_path, capsys):
    import influence

    found = influence.main(outputs=str(tmp_path))
    assert found["self-influence"] > 0.7
    assert matplotlib.image.imread(tmp_path / "influence.png").std() > 0.05
    assert "72 of 1438 training labels are wrong (5.0%)" in capsys.readouterr().out


def test_models_of_flax_and_equinox():
    pytest.importorskip("flax")
    pytest.importorskip("equinox")
    import foreign_models

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        results = foreign_models.main(examples=8)  # they count on promotion
    assert set(results) == {"Flax", "Equinox"}
    for errors in results.values():
        assert max(errors) < 1e-5
