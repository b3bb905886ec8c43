"""The snippets of other libraries in the docs run, where these are installed."""

import os
import warnings

import jax
import pytest
from pages import DOCS, python_blocks, run

PAGE = DOCS / "coming_from.md"
BLOCKS = python_blocks(PAGE)
MODULES = {
    "Flax Linen": ("flax", "optax"),
    "Flax NNX": ("flax", "optax", "orbax.checkpoint"),
    "Equinox": ("equinox", "optax"),
    "PyTorch": ("torch",),
    "Keras": ("keras",),
}


@pytest.fixture(autouse=True)
def as_their_users_have_it(tmp_path, monkeypatch):
    """Run without the settings of our tests, which are stricter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "jax")
    with (
        warnings.catch_warnings(action="ignore"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        yield


def test_every_library_has_a_snippet_for_every_task():
    tabs = [block.tab for block in BLOCKS if block.tab]
    assert set(tabs) == set(MODULES)
    assert {tabs.count(library) for library in MODULES} == {7}


@pytest.mark.parametrize("library", MODULES)
def test_snippets_run(library):
    for module in MODULES[library]:
        pytest.importorskip(module)
    namespace = {}
    run(PAGE, [BLOCKS[0], *(b for b in BLOCKS if b.tab == library)], namespace)
    if library != "PyTorch":
        assert namespace.get("norms", namespace["logits"]).shape[0] == 32
