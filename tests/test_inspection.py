"""How a summary prints: as a table that fits the terminal, with inner layers indented."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import pytorch
from fnn.inspection import LayerSummary, Summary

CONV = "fnn.Conv(16, (3, 3), padding=1, bias=False, kernel_init=fnn.initializers.he_normal)"
ROWS = (
    LayerSummary("conv_0", CONV, "float32[32,32,16]", 432, 1_660_416.0),
    LayerSummary("residual_0/branch/conv_0", CONV, "float32[32,32,16]", 2304, 4_524_032.0),
    LayerSummary("residual_0/branch/relu_0", "jax.nn.relu", "float32[32,32,16]", 0, 16.0),
    LayerSummary("residual_0/shortcut", "fnn.Dense(16)", "float32[32,32,16]", 0, 16.0),
    LayerSummary("residual_0/more/inner/dense_0", "fnn.Dense(1)", "float32[1]", 0, 16.0),
    LayerSummary("residual_1/branch", "jax.nn.relu", "float32[1]", 0, None),
)
AT_80 = """\
name         layer                     output             parameters       FLOPs
-----------  ------------------------  -----------------  ----------  ----------
conv_0       Conv(16, (3, 3), …)       float32[32,32,16]         432   1,660,416
residual_0/branch
  conv_0     Conv(16, (3, 3), …)       float32[32,32,16]       2,304   4,524,032
  relu_0     relu                      float32[32,32,16]           0          16
residual_0
  shortcut   Dense(16)                 float32[32,32,16]           0          16
  more/inner
    dense_0  Dense(1)                  float32[1]                  0          16
residual_1
  branch     relu                      float32[1]                  0           -
-----------  ------------------------  -----------------  ----------  ----------
total                                  1.5 KiB                 2,736  19,456,000
"""


def table(monkeypatch, columns, rows=ROWS):
    monkeypatch.setenv("COLUMNS", str(columns))
    return str(Summary(rows, 2736, 1536, 19_456_000.0))


@pytest.mark.parametrize("columns", [40, 80])
def test_a_table_takes_80_columns(monkeypatch, columns):
    assert table(monkeypatch, columns) == AT_80.rstrip("\n")


def test_a_wider_terminal_shows_more(monkeypatch):
    lines = table(monkeypatch, 100).splitlines()
    assert max(map(len, lines)) <= 100
    assert "  Conv(16, (3, 3), padding=1, bias=False, …)  " in lines[2]
    whole = table(monkeypatch, 200)
    assert "Conv(16, (3, 3), padding=1, bias=False, kernel_init=he_normal)" in whole
    assert max(map(len, whole.splitlines())) < 130  # and no more than it needs


NAMES = st.text("abc_0123456789", min_size=1, max_size=30)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)


@given(
    rows=st.lists(st.tuples(PATHS, NAMES, NAMES), min_size=1, max_size=6),
    columns=st.integers(80, 200),
)
def test_every_table_fits_and_has_a_line_for_each_layer(rows, columns):
    rows = tuple(LayerSummary(p, f"fnn.{n}(1, {n})", o, 1, 1e9) for p, n, o in rows)
    with pytest.MonkeyPatch.context() as monkeypatch:
        lines = table(monkeypatch, columns, rows).splitlines()
    assert max(map(len, lines)) <= columns
    assert sum(line.endswith("  1,000,000,000") for line in lines) == len(rows)
    assert len({len(line) for line in lines if line.endswith("00")}) == 1  # aligned


def test_a_row_has_the_layer_in_one_line():
    layer = fnn.Conv(
        32, (3, 3), stride=2, padding=1, bias=False, kernel_init=fnn.initializers.he_normal
    )
    assert "\n" in repr(layer)
    model = fnn.Sequential(layer, fnn.Residual(fnn.Sequential(jax.nn.relu)))
    summary = fnn.summary(model, jax.ShapeDtypeStruct((8, 8, 3), "float32"))
    shown = summary.rows[0].layer
    assert eval(shown) == layer
    assert "\n" not in shown
    assert "  " not in shown
    assert [len(line) <= 80 for line in str(summary).splitlines()] == [True] * 7
    assert "\nresidual_0/branch\n  relu_0  " in str(summary)


def test_a_model_is_seen_layer_by_layer_after_jax_has_traced_it():
    model, x = fnn.Sequential(fnn.Dense(3), jax.nn.relu), jnp.ones(4)
    params, state = model.init(jax.random.key(0), x)
    apply = model.apply
    arguments = jax.eval_shape(lambda *args: args, params, state, x)
    jax.eval_shape(apply, *arguments)
    assert [row.path for row in fnn.summary(model, x).rows] == ["dense_0", "relu_0"]
    assert list(pytorch.to_state_dict(model, params, state, x)) == ["0.bias", "0.weight"]
    assert apply(params, state, x)[0].shape == (3,)
