"""Text tables, against tables that are written out."""

import pytest

from fnn.tables import rich_table, text_table

ROWS = [("kernel", "Dense(3)", "12"), "block", ("  bias", "", "3")]


def test_headings_rules_and_a_total():
    found = text_table(("name", "layer", "size"), ROWS, numbers=1, total=("all", "", "15"))
    assert found.splitlines() == [
        "name    layer     size",
        "------  --------  ----",
        "kernel  Dense(3)    12",
        "block",
        "  bias               3",
        "------  --------  ----",
        "all                 15",
    ]


def test_without_header_or_rule():
    assert text_table((), [("a", "1"), ("bc", "23")], numbers=1) == "a    1\nbc  23"
    found = text_table(("a", "bc"), [("123", "4")], numbers=2, ruled=False)
    assert found == "  a  bc\n123   4"
    assert text_table((), [], numbers=0) == ""


def test_columns_shrink_in_the_given_order_to_fit_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [("x" * 60, "Dense(3, bias=False)", "1"), "y" * 80]
    found = text_table((), rows, numbers=1, shrinking=((1, 12), (0, 20)))
    first, heading = found.splitlines()
    assert first == "x" * 60 + "  Dense(3, …)    " + "  1"
    assert len(heading) == 75
    assert heading.endswith("y…")


@pytest.mark.parametrize("marked", [(), [True, False]])
def test_rich_table(marked):
    pytest.importorskip("rich")
    rows = [("a", "1"), ("b", "2")]
    table = rich_table(("name", "size"), rows, numbers=1, marked=marked, caption="c")
    assert [column.justify for column in table.columns] == ["left", "right"]
    assert [list(column.cells) for column in table.columns] == [["a", "b"], ["1", "2"]]
    expected = ["bold red" if mark else None for mark in marked or [False, False]]
    assert [row.style for row in table.rows] == expected
    assert table.caption == "c"
