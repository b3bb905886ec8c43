"""The benchmarks of scale: bounds that follow from a row, and its place in the README."""

import pytest

from benchmarks import tables
from benchmarks.scale import report

ROW = report.Row(
    topology="v5e:2x4",
    network="transformer",
    strategy="replicated",
    step="ordinary",
    chips=8,
    batch_per_chip=4,
    weights=1000,
    memory=3 * 2**30,
    flops=197e9,
    traffic=1638e6,
    collectives={"all-gather": 2, "all-reduce": 1},
    sent=400e6,
    compile_seconds=12.34,
)


def test_efficiency_is_the_time_of_one_chip_by_that_of_all():
    # Arithmetic 1 ms, traffic 2 ms, communication 2 ms.
    assert ROW.seconds == pytest.approx((1e-3, 2e-3, 2e-3))
    assert ROW.efficiency == pytest.approx((0.5, 1.0))


def test_a_row_takes_the_place_of_one_of_the_same_step(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text(
        "<!-- results: scale -->\n\n<!-- end of results -->\n", encoding="utf-8"
    )
    monkeypatch.setattr(tables, "README", readme)
    monkeypatch.setattr(report.results, "FOLDER", tmp_path)
    for chips, topology in ((256, "v5e:16x16"), (8, "v5e:2x4"), (8, "v5e:2x4")):
        row = report.dataclasses.replace(ROW, chips=chips, topology=topology)
        report.write({"jax": "0.10.2"}, row)
    assert [row.chips for row in report.read()[1]] == [8, 256]
    assert "Compiled by jax 0.10.2" in readme.read_text(encoding="utf-8")
    assert (
        "| transformer | ordinary | replicated | 8 | 3 | 0.197 | 1.64 | 381 | "
        "2 all-gather, 1 all-reduce |"
    ) in readme.read_text(encoding="utf-8")


def test_the_table_is_what_the_results_say(tmp_path, monkeypatch):
    text = tables.README.read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(text, encoding="utf-8")
    monkeypatch.setattr(tables, "README", copy)
    report.put()
    assert copy.read_text(encoding="utf-8") == text
