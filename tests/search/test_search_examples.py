"""Populations do what they are for: to know what is unknown, and to find good settings."""

import matplotlib.image
import pytest
from test_examples import ROOT  # noqa: F401  (puts the examples where they are imported from)


@pytest.mark.slow
def test_an_ensemble_knows_where_it_does_not_know(tmp_path):
    import ensemble

    figures = ensemble.main(outputs=str(tmp_path))
    assert figures.gap > 3 * figures.beside
    assert figures.ensemble > max(0.9, figures.one_network)
    assert matplotlib.image.imread(tmp_path / "ensemble.png").std() > 0.05


@pytest.mark.slow
def test_search_finds_a_setting_as_good_as_that_of_the_example(tmp_path):
    import search

    scores = search.main(trials=24, seeds=3, outputs=str(tmp_path))
    assert scores["found"] >= scores["by hand"]
    assert matplotlib.image.imread(tmp_path / "search.png").std() > 0.05
