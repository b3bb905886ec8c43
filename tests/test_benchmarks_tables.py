"""Results and tables of the benchmarks, and the command that makes them."""

import dataclasses
import json
import re
import statistics
import subprocess
import sys

import pytest
from contracts.rivals import ABOUT, ROOT, row, suite_of, write_rivals

from benchmarks import __main__ as command
from benchmarks import fits, results, tables
from benchmarks.per_example.headline import NETWORKS, headline
from benchmarks.suite import Row


def test_rows_survive_json(tmp_path):
    file = tmp_path / "results" / "fake.json"
    rows = [
        row("fnn", [0.1, 0.25], proof=[1 / 3], figures={"compile, s": 0.1}),
        row("other", [], refused="no “such” layer\n| at all"),
    ]
    results.write(file, ABOUT, rows)
    assert results.read(file) == (ABOUT, rows)
    assert json.loads(file.read_text(encoding="utf-8"))["machine"]["cores"] == 2


def test_cases_measured_again_replace_and_others_stay_with_their_dates(tmp_path):
    file = tmp_path / "fake.json"
    old = [row(rival, [1.0], case=case) for case in "ab" for rival in ("fnn", "other")]
    new = [row("fnn", [2.0], date="2026-02-02")]
    results.write(file, ABOUT, old)
    results.write(file, ABOUT | {"cores": 3}, new)
    about, rows = results.read(file)
    assert about["cores"] == 3
    assert rows == old[2:] + new


def test_a_file_for_each_suite_and_device(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    gpu = {"platform": "gpu", "device": "Some GPU (80GB)", "cores": 16}
    assert results.path("fake", ABOUT).name == "fake.cpu-2-cores.json"
    assert results.path("fake", gpu).name == "fake.some-gpu-80gb-16-cores.json"
    results.write(results.path("fake", ABOUT), ABOUT, [])
    results.write(results.path("faker", ABOUT), ABOUT, [])
    assert [file.name for file in results.files("fake")] == ["fake.cpu-2-cores.json"]


# Tables


def test_the_ratio_is_the_median_over_common_rounds():
    first = row("fnn", [1.0, 2.0, 4.0, 1.0])
    # 3 / 2, 2 / 4 and 5 / 1; the ratio of the medians would be 3 / 1.5.
    assert tables.ratio(row("other", [3.0, 2.0, 5.0], [1, 2, 3]), first) == 1.5


def test_the_spread_is_half_the_distance_of_the_quartiles():
    assert tables.spread([4.0, 1.0, 2.0, 9.0, 3.0]) == (4.0 - 2.0) / 2
    assert tables.spread([7.0]) == 0.0


def test_numbers_have_three_digits():
    values = (0.0012345, 1.0, 12.345, 99.4, 123.4, 12345.6)
    assert [tables.number(value) for value in values] == [
        "0.00123", "1", "12.3", "99.4", "123", "12,346",
    ]  # fmt: skip


def test_a_section_by_hand():
    suite = suite_of(
        ["fnn", "other", "unused"],
        summary=lambda about, rows: [
            f"{about['cores']} cores: {', '.join(row.case for row in rows)}."
        ],
    )
    rows = [
        row("fnn", [1e-3, 2e-3, 3e-3], case="b", figures={"compile, s": 0.5}),
        row("other", [2e-3, 4e-3, 3e-3], case="b", figures={"compile, s": 0.25}),
        row("fnn", [], refused="too large"),
        row("other", [0.5], date="2026-03-01"),
    ]
    assert tables.section(suite, ABOUT, rows) == [
        "Abacus, 2 cores, Python 3.11.7, jax 0.10.2, numpy 2.0.0; "
        "2026-01-01 to 2026-03-01.",
        "",
        "Time of one step, ms: median ± half the distance of the quartiles, and the median "
        "ratio to fnn in the same round.",
        "",
        "| work | fnn | other |",
        "| --- | --- | --- |",
        "| a | too large | 500 ± 0 |",
        "| b | 2 ± 0.5 | 3 ± 0.5 (2.00) |",
        "",
        "Compile, s:",
        "",
        "| work | fnn | other |",
        "| --- | --- | --- |",
        "| a |  |  |",
        "| b | 0.5 | 0.25 (0.50) |",
        "",
        "2 cores: a, a, b, b.",
        "",
    ]


def test_a_rival_may_be_compared_with_another_than_the_first():
    suite = suite_of(["fnn", "torch", "opacus"], bases={"opacus": "torch"})
    rows = [row("fnn", [1.0]), row("torch", [2.0]), row("opacus", [8.0, 8.0])]
    lines = tables.section(suite, ABOUT, rows)
    assert lines[2].endswith("ratio to fnn; of opacus to torch in the same round.")
    assert lines[6] == "| a | 1,000 ± 0 | 2,000 ± 0 (2.00) | 8,000 ± 0 (4.00) |"


@pytest.fixture
def readme(tmp_path, monkeypatch):
    file = tmp_path / "README.md"
    file.write_text(
        "Before.\n<!-- results: fake -->\nold\n<!-- end of results -->\nBetween.\n"
        "<!-- results: other -->\nkept\n<!-- end of results -->\nAfter.\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(tables, "README", file)
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return file


def test_the_readme_changes_only_between_the_markers(readme):
    suite = suite_of(["fnn"])
    results.write(results.path("fake", ABOUT), ABOUT, [row("fnn", [1.0])])
    tables.write(suite)
    lines = tables.section(suite, ABOUT, [row("fnn", [1.0])])
    middle = "\n".join(["<!-- results: fake -->", "", *lines, "<!-- end of results -->"])
    assert readme.read_text(encoding="utf-8") == (
        f"Before.\n{middle}\nBetween.\n"
        "<!-- results: other -->\nkept\n<!-- end of results -->\nAfter.\n"
    )


def test_the_readme_of_the_project_shows_multiples_with_the_least_in_bold():
    times = {"JAX gradient": 2.0, "PyTorch gradient": 4.0, "fnn clipped": 2.2}
    others = {
        "vmap clipped": 8.0,
        "jax_privacy clipped": 300.0,
        "Opacus ghost clipped": 4.2,
    }
    rows = [
        Row(case, rival, "", 1, [seconds], [0])
        for case in NETWORKS
        for rival, seconds in (times | others).items()
    ]
    about = ABOUT | {"versions": {"jax": "1.2", "numpy": "4", "torch": "3.4"}}
    lines = headline(about, rows)
    assert lines[0] == "| network | fnn | JAX, `vmap(grad)` | jax_privacy | Opacus, ghost |"
    assert lines[-4] == "| GRU, 64 steps, batch 64 | 1.1 | 4 | 150 | **1.05** |"
    assert lines[-2].endswith("cores, float32, jax 1.2, torch 3.4.")


def test_a_suite_without_results_says_so(readme):
    tables.write(suite_of(["fnn"]))
    assert "\n\nNot measured yet.\n\n<!-- end" in readme.read_text(encoding="utf-8")


def test_results_need_a_place_in_the_readme(readme):
    with pytest.raises(ValueError, match=r"README.md has no place for .* of missing"):
        tables.write(dataclasses.replace(suite_of(["fnn"]), name="missing"))


def test_lines_are_fitted_by_least_squares():
    assert fits.slope([1.0, 2.0, 3.0], [1.0, 3.0, 8.0]) == 3.5
    times = [3 * size**1.5 for size in (10, 40, 90)]
    assert fits.exponent((10, 40, 90), times) == pytest.approx(1.5)


# The command


@pytest.fixture
def run(tmp_path, monkeypatch, readme):
    """Run the command on a suite of two rivals; JAX is a module that says `cpu`."""
    write_rivals(tmp_path, dict.fromkeys(("one", "two"), "def run(): time.sleep(0.05)"))
    device = "types.SimpleNamespace(platform='cpu', device_kind='cpu')"
    (tmp_path / "jax.py").write_text(
        f"import types\ndevices = lambda: [{device}]\n", encoding="utf-8"
    )
    monkeypatch.setattr(command, "SUITES", {"fake": "unused"})
    monkeypatch.setattr(command, "load", lambda _: suite_of(["one", "two"], tmp_path))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        command.main()

    return run


def test_the_command_measures_writes_and_makes_tables(run, readme, capsys):
    run("fake", "--cases", "b", "--rounds", "2")
    [file] = results.files("fake")
    about, rows = results.read(file)
    assert [(row.case, row.rival, len(row.seconds)) for row in rows] == [
        ("b", "one", 2), ("b", "two", 2),
    ]  # fmt: skip
    assert (about["platform"], about["versions"]["jax"]) == ("cpu", results.version("jax"))
    assert min(statistics.median(row.seconds) for row in rows) >= 0.05
    one, two = (tables.time_cell(row, rows[0], "ms") for row in rows)
    lines = re.findall(r"^\| [ab] \| .*", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines[0] == f"| b | {one} | {two} |"
    assert {line[2] for line in lines} == {"b"}
    assert "fake: b" in capsys.readouterr().out


def test_part_of_the_rivals_is_shown_and_not_written(run, readme, capsys):
    before = readme.read_text(encoding="utf-8")
    run("fake", "--cases", "a", "--rivals", "two", "--rounds", "1")
    assert "two" in capsys.readouterr().out
    assert results.files("fake") == []
    assert readme.read_text(encoding="utf-8") == before


def test_peaks_that_matter_get_a_process_for_each_case(run, monkeypatch, tmp_path):
    body = "def run(): pass\n    return Program(run, {'process': os.getpid()})"
    write_rivals(tmp_path, {"one": body})
    for fresh, processes in ((False, 1), (True, 2)):
        suite = suite_of(["one"], tmp_path, fresh=fresh)
        monkeypatch.setattr(command, "load", lambda _, suite=suite: suite)
        run("fake", "--rounds", "1")
        rows = results.read(results.files("fake")[0])[1]
        assert len({row.figures["process"] for row in rows}) == processes


def test_an_unknown_suite_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("fake", "fast")
    assert "no suite ['fast']; there are ['fake']" in capsys.readouterr().err


# The tables


def test_suites_load_without_a_framework():
    code = (
        "import sys; from benchmarks.__main__ import SUITES, load\n"
        "for name in SUITES:\n"
        "    suite = load(name)\n"
        "    assert suite.name == name\n"
        "    assert any('fnn' in r for r in suite.rivals) or name == 'ceiling', name\n"
        "print(*{'jax', 'torch', 'numpy', 'fnn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == ""


def test_tables_are_what_the_results_say(tmp_path, monkeypatch):
    texts = {
        name: getattr(tables, name).read_text(encoding="utf-8")
        for name in ("README", "PROJECT")
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.setattr(tables, name, tmp_path / name)
    for name in command.SUITES:
        tables.write(command.load(name))
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in texts} == texts
