"""Results rank their rows by any column, and read back what they saved."""

import json
import math

import pytest

from fnn import search


def test_nothing_wins_where_all_diverged():
    rows = [{"trial": 0, "val_loss": math.nan, "diverged": True}]
    with pytest.raises(ValueError, match="all diverged"):
        _ = search.Results(rows, "val_loss").best
    accuracy = [{"val_accuracy": value} for value in (0.5, math.nan, 0.9)]
    assert search.Results(accuracy, "val_accuracy", grows=True).best["val_accuracy"] == 0.9
    json.dumps(search.Results(accuracy, "val_accuracy").columns)


@pytest.mark.parametrize(
    ("grows", "options", "order"),
    [
        (False, {}, [2, 0, 3, 1]),
        (True, {}, [3, 0, 2, 1]),
        (True, {"descending": False}, [2, 0, 3, 1]),
        (True, {"by": "rate"}, [1, 3, 0, 2]),
        (False, {"by": "rate", "descending": True}, [2, 0, 3, 1]),
        (False, {"by": "name"}, [3, 1, 0, 2]),
    ],
)
def test_rows_are_sorted_by_a_column(grows, options, order):
    """Without `descending`, only a metric that grows has its largest value first."""
    scores, rates = (2.0, math.nan, 1.0, 3.0), (0.3, 0.1, 0.4, 0.2)
    rows = [
        {"trial": i, "score": score, "rate": rate, "name": name}
        for i, (score, rate, name) in enumerate(zip(scores, rates, "cbda", strict=True))
    ]
    results = search.Results(rows, "score", grows)
    assert results.sorted(**options).columns["trial"] == order


def test_rows_are_not_sorted_by_a_column_that_is_not_there():
    with pytest.raises(ValueError, match=r"by must be one of .*'loss'.*got 'los'"):
        search.Results([{"loss": 1.0}], "loss").sorted("los")
