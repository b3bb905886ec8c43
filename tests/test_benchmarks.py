"""The harness of the benchmarks, driven by rivals that do next to nothing."""

import math

import pytest
from contracts.rivals import RIVALS, row, suite_of, write_rivals

from benchmarks import rounds, tables
from benchmarks.rounds import affordable, check_same_work, measure, workers


class Scripted:
    """A worker that answers as told, and keeps what it was asked."""

    def __init__(self, name, asked, once=0.01, proof=(1.0,)):
        self.name, self.asked, self.once, self.proof = name, asked, once, list(proof)

    def restart(self):
        self.asked.append((self.name, {"restart": True}))

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


def test_rivals_that_start_soon_have_three_processes_one_after_the_other(monkeypatch):
    """Figures and proofs are of the first, and whoever fails later has no times."""

    class Failing(Scripted):
        def ask(self, **question):
            again = ("z", {"restart": True}) in self.asked and "build" in question
            return {"refused": "lost"} if again else super().ask(**question)

    class Slow(Scripted):
        def ask(self, **question):
            clock.append(rounds.QUICK_SECONDS if "build" in question else 0)
            return super().ask(**question)

    asked, clock = [], []
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: sum(clock))
    kinds = {"x": Scripted, "y": Slow, "z": Failing}
    running = {name: kind(name, asked) for name, kind in kinds.items()}
    rows = {row.rival: row for row in measure(suite_of("xyz"), "a", running, 7)}
    starts = [i for i, question in enumerate(asked) if question[1] == {"restart": True}]
    assert [asked[i][0] for i in starts] == ["x", "z", "x"]
    assert all(
        asked[i + 1] == (asked[i][0], {"build": "a"}) for i in (starts[0], starts[2])
    )
    first, later = asked[: starts[0]], asked[starts[0] : starts[2]]
    assert [sampled(part).count("x") for part in (first, later, asked)] == [2, 2, 7]
    assert rows["y"].rounds == [*range(7)]
    assert (rows["z"].refused, rows["z"].rounds) == ("lost", [])


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
