"""The harness of the benchmarks, driven by rivals that do next to nothing."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import fits, results, rounds, tables
from benchmarks.rounds import affordable, check_same_work, measure, workers
from benchmarks.suite import Row, Suite

ROOT = Path(__file__).parent.parent
ABOUT = {
    "device": "Abacus", "platform": "cpu", "cores": 2, "python": "3.11.7",
    "versions": {"jax": "0.10.2", "numpy": "2.0.0"},
}  # fmt: skip

RIVALS = {
    "steady": "def run(): time.sleep(0.03); print('to be ignored')",
    "refusing": "raise RefusedError(f'has no {case}')",
    "failing": "raise ValueError('no such layer\\nat all')",
    "absent": "import surely_not_there",
    "breaking": "def run(): calls.append(0); 1 / (len(calls) < 3)",
    "clocked": "return Program(lambda: 1e-3, proof=[1.0, 2.0], clocked=True)",
    "dying": "def run(): calls.append(0); len(calls) < 3 or os._exit(7)",
}
MODULE = """
import os, time
from benchmarks.suite import Program, RefusedError

def build(case):
    calls = []
    {body}
    return Program(run, figures={{"answer, MiB": 42.0}}, proof=[1.0, 2.0])

def other(case):
    return build(f"other {{case}}")
"""


def write_rivals(folder, bodies=RIVALS):
    for name, body in bodies.items():
        (folder / f"{name}_rival.py").write_text(MODULE.format(body=body))


def suite_of(rivals, path=None, **changes):
    environment = {"PYTHONPATH": f"{ROOT}:{path}"}
    return Suite(
        name="fake", title="work", cases=("a", "b"),
        rivals={rival: f"{rival}_rival" for rival in rivals},
        environment=dict.fromkeys(rivals, environment), **changes,
    )  # fmt: skip


def row(rival, seconds, rounds=None, case="a", date="2026-01-01", **changes):
    rounds = list(range(len(seconds))) if rounds is None else rounds
    return Row(case, rival, date, 1, list(seconds), rounds, **changes)


class Scripted:
    """A worker that answers as told, and keeps what it was asked."""

    def __init__(self, name, asked, once=0.01, proof=(1.0,)):
        self.name, self.asked, self.once, self.proof = name, asked, once, list(proof)

    def ask(self, **question):
        self.asked.append((self.name, question))
        if "build" in question:
            told = {"figures": {}, "proof": self.proof, "clocked": False}
            return {"once": self.once, **told}
        return {"seconds": self.once} if "sample" in question else {}


def sampled(asked):
    return "".join(name for name, question in asked if "sample" in question)


# Rivals in processes of their own


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rivals")
    write_rivals(folder)
    suite = suite_of([*RIVALS, "named"], folder)
    suite.rivals["named"] = "refusing_rival:other"
    with workers(suite, list(suite.rivals)) as running:
        return [
            {row.rival: row for row in measure(suite, case, running, 2)}
            for case in suite.cases
        ]


def test_times_figures_and_proof_come_from_the_process(measured):
    for case, rows in zip("ab", measured, strict=True):
        steady = rows["steady"]
        assert (steady.case, steady.refused, steady.rounds) == (case, "", [0, 1])
        assert len(steady.seconds) == 2
        assert all(seconds >= 0.03 for seconds in steady.seconds)
        assert steady.proof == [1.0, 2.0]
        assert steady.figures["answer, MiB"] == 42.0
        assert 1 < steady.figures["peak of the process, MiB"] < 1e5


def test_a_program_may_have_its_own_clock(measured):
    assert measured[0]["clocked"].seconds == [1e-3, 1e-3]
    assert measured[0]["clocked"].repeats == 1


@pytest.mark.parametrize(
    ("rival", "reason"),
    [
        ("refusing", "has no b"),
        ("named", "has no other b"),
        ("failing", "failed: ValueError: no such layer"),
        ("absent", "surely_not_there is not installed"),
        ("breaking", "failed: ZeroDivisionError: division by zero"),
        ("dying", "the process ended with status 7"),
    ],
)
def test_the_reason_stands_in_the_place_of_a_time(measured, rival, reason):
    # In the second case: a process that ended has been started anew.
    row = measured[1][rival]
    assert row.refused == reason
    assert row.seconds == row.rounds == []
    assert tables.time_cell(row, measured[1]["steady"], "ms") == reason


def test_nothing_is_measured_where_all_refuse(tmp_path):
    write_rivals(tmp_path)
    suite = suite_of(["refusing"], tmp_path)
    with workers(suite, ["refusing"]) as running:
        [row] = measure(suite, "a", running, 3)
    assert row.refused == "has no a"


# Turns


def test_rivals_take_turns_in_an_order_that_is_drawn(monkeypatch):
    monkeypatch.setattr(rounds, "REST", 0)
    asked = []
    running = {name: Scripted(name, asked) for name in "xyz"}
    rows = measure(suite_of("xyz"), "a", running, 20)
    turns = sampled(asked)
    assert all(sorted(turns[i : i + 3]) == list("xyz") for i in range(0, 60, 3))
    followed = {turns[i : i + 2] for i in range(59)}
    assert {"xy", "xz", "yx", "yz", "zx", "zy"} <= followed
    assert [row.rounds for row in rows] == [list(range(20))] * 3
    assert [name for name, question in asked if "drop" in question] == list("xyz")


def test_a_sample_has_as_many_runs_as_take_a_twentieth_of_a_second():
    running = {f"{once}": Scripted("", [], once) for once in (0.0, 1e-3, 0.02, 0.4)}
    rows = measure(suite_of(list(running)), "a", running, 1)
    assert [row.repeats for row in rows] == [500_000, 50, 2, 1]


def test_rivals_that_are_slow_are_sampled_in_one_of_three_rounds():
    asked = []
    times = {"x": 0.5, "y": 3.9, "z": 4.1}
    running = {name: Scripted(name, asked, once) for name, once in times.items()}
    rows = {row.rival: row for row in measure(suite_of("xyz"), "a", running, 7)}
    assert rows["y"].rounds == [*range(7)]
    assert rows["z"].rounds == [0, 3, 6]
    assert tables.ratio(rows["z"], rows["x"]) == pytest.approx(8.2)


def test_a_case_that_takes_long_has_fewer_rounds():
    assert affordable(9, {"x": 6.0, "y": 0.5}) == 9
    assert affordable(9, {"x": 6.0, "y": 2.5}) == 7
    assert affordable(9, {"x": 20.0, "y": 9.0}) == 3
    assert affordable(2, {"x": 20.0, "y": 9.0}) == 2


def test_slow_is_slower_than_three_seconds():
    running = {"x": Scripted("x", [], 0.01), "y": Scripted("y", [], 2.9)}
    assert measure(suite_of("xy"), "a", running, 2)[1].rounds == [0, 1]


# Proof


@pytest.mark.parametrize("proof", [[1.0, 2.01], [1.0], [1.0, math.nan]])
def test_other_work_is_an_error_that_names_both(proof):
    rows = [row("fnn", [], proof=[1.0, 2.0]), row("other", [], proof=proof)]
    with pytest.raises(ValueError, match=r"fake, a: other has .* but fnn \[1.0, 2.0\]"):
        check_same_work(suite_of(["fnn", "other"]), rows)


def test_proofs_agree_up_to_the_tolerance():
    rows = [row("fnn", [], proof=[2.0]), row("other", [], proof=[2.01])]
    check_same_work(suite_of(["fnn", "other"], tolerance=0.01), rows)


def test_what_a_rival_does_not_compute_is_left_out_of_its_proof():
    rows = [
        row("fnn", [], proof=[1.0, None]),
        row("other", [], proof=[None, 2.0]),
        row("third", [], proof=[1.0, 2.5]),
    ]
    suite = suite_of(["fnn", "other", "third"])
    check_same_work(suite, rows[:2])
    with pytest.raises(ValueError, match=r"third has .* but other"):
        check_same_work(suite, rows)


def test_other_work_is_found_before_it_is_timed():
    asked = []
    running = {name: Scripted(name, asked, proof=[ord(name)]) for name in "xy"}
    with pytest.raises(ValueError, match="x"):
        measure(suite_of("xy"), "a", running, 3)
    assert sampled(asked) == ""


# Results


def test_rows_survive_json(tmp_path):
    file = tmp_path / "results" / "fake.json"
    rows = [
        row("fnn", [0.1, 0.25], proof=[1 / 3], figures={"compile, s": 0.1}),
        row("other", [], refused="no “such” layer\n| at all"),
    ]
    results.write(file, ABOUT, rows)
    assert results.read(file) == (ABOUT, rows)
    assert json.loads(file.read_text())["machine"]["cores"] == 2


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
        summary=lambda about, rows: [f"{about['cores']} cores, {len(rows)} rows."],
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
        "Time of a step, ms: median ± half the distance of the quartiles, and the median "
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
        "2 cores, 4 rows.",
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
        "<!-- results: other -->\nkept\n<!-- end of results -->\nAfter.\n"
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
    assert readme.read_text() == (
        f"Before.\n{middle}\nBetween.\n"
        "<!-- results: other -->\nkept\n<!-- end of results -->\nAfter.\n"
    )


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
    (tmp_path / "jax.py").write_text(f"import types\ndevices = lambda: [{device}]\n")
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
    assert re.search(r"\| b \| \d", readme.read_text())
    assert "fake: b" in capsys.readouterr().out


def test_part_of_the_rivals_is_shown_and_not_written(run, readme, capsys):
    before = readme.read_text()
    run("fake", "--cases", "a", "--rivals", "two", "--rounds", "1")
    assert "two" in capsys.readouterr().out
    assert results.files("fake") == []
    assert readme.read_text() == before


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


# What there is


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
    text = tables.README.read_text()
    copy = tmp_path / "README.md"
    copy.write_text(text)
    monkeypatch.setattr(tables, "README", copy)
    for name in command.SUITES:
        tables.write(command.load(name))
    assert copy.read_text() == text
