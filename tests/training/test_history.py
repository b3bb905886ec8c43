"""Histories in files, and what callbacks write while training runs."""

import csv
import json

import jax
import numpy as np
import pytest

import fnn
from fnn import losses, optimizers
from fnn.training import (
    EpochEnd,
    LogToFile,
    TensorBoard,
    history,
    load_history,
    save_history,
)

HISTORY = {"loss": np.array([0.1, np.nan]), "seconds": np.array([1.0, 1e-9])}


@pytest.mark.parametrize("name", ["history.csv", "history.jsonl"])
def test_history_comes_back_as_it_was(tmp_path, name):
    save_history(HISTORY, tmp_path / name)
    loaded = load_history(tmp_path / name)
    assert list(loaded) == list(HISTORY)
    for column, values in HISTORY.items():
        np.testing.assert_array_equal(loaded[column], values)


def test_csv_is_read_by_others(tmp_path):
    save_history(HISTORY, tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[0]["loss"]) == 0.1


def test_bad_files_and_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.csv or \.jsonl"):
        save_history(HISTORY, tmp_path / "history.txt")
    with pytest.raises(ValueError, match="columns of one length"):
        save_history({"a": [1.0], "b": [1.0, 2.0]}, tmp_path / "h.csv")
    with pytest.raises(ValueError, match=r"must end in \.jsonl"):
        LogToFile("log.csv")


def test_log_has_a_line_an_epoch_and_keeps_the_later_of_two(tmp_path):
    log = LogToFile(str(tmp_path / "log.jsonl"))
    x = np.ones((8, 2), "float32")
    result = fnn.fit(
        fnn.Dense(1),
        losses.squared_error,
        optimizers.SGD(0.1),
        (x, x[:, :1]),
        key=jax.random.key(0),
        epochs=3,
        batch_size=4,
        callbacks=[log],
        progress=False,
    )
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    log(EpochEnd(2, 6, {"loss": 7.0, "learning_rate": 0.1, "seconds": 0.0}, {}, {}))
    loaded = load_history(tmp_path / "log.jsonl")
    np.testing.assert_array_equal(loaded["loss"], [*result.history["loss"][:2], 7.0])


def test_a_column_that_only_some_epochs_have_is_nan_in_the_others(tmp_path):
    """As of rates, which an older version wrote into one column."""
    rows = [{"loss": 2.0, "learning_rate": 0.5}, {"loss": 1.0, "learning_rate[a/*]": 0.25}]
    wanted = {
        "loss": [2.0, 1.0],
        "learning_rate": [0.5, np.nan],
        "learning_rate[a/*]": [np.nan, 0.25],
    }
    log = LogToFile(str(tmp_path / "log.jsonl"))
    for epoch, row in enumerate(rows):
        log(EpochEnd(epoch, 1, row, {}, {}))
    loaded = load_history(log.path)
    assert loaded.pop("step").tolist() == [1, 1]
    for columns in (loaded, history.columns(rows)):
        assert list(columns) == list(wanted)
        for name, column in columns.items():
            np.testing.assert_array_equal(column, wanted[name])


def test_tensorboard_gets_every_figure(tmp_path):
    """Read back from the event file: records of a length, its digest, bytes, a digest."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    board = TensorBoard(str(tmp_path))
    board(EpochEnd(0, 1, {"loss": 2.5}, {}, {}))
    board(EpochEnd(1, 2, {"loss": 0.5}, {}, {}))
    history._writer(str(tmp_path)).close()  # it writes in a thread of its own
    (file,) = tmp_path.glob("events.*")
    content, found = file.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        content = content[16 + length :]
    assert found == [(0, "loss", 2.5), (1, "loss", 0.5)]
