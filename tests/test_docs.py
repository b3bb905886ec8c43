"""The pages of the site: their code runs, and they have every public name."""

import re
import runpy

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import pytest
from pages import DOCS, ROOT, python_blocks, run
from test_public_api import MODULES, PUBLIC

import fnn

PAGES = sorted(DOCS.glob("*.md"))
# `fnn.Dense` is not listed again as `fnn.layers.Dense`.
SHORTEST = {
    id(thing): min((n for n in PUBLIC if PUBLIC[n] is thing), key=len)
    for thing in PUBLIC.values()
}
NAMES = set(SHORTEST.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page, tmp_path, monkeypatch):
    """The blocks of a page share a namespace; those in tabs are other libraries'."""
    monkeypatch.chdir(tmp_path)
    run(page, [block for block in python_blocks(page) if not block.tab], {})
    plt.close("all")


def test_sharp_edges_show_the_error_that_users_get():
    model = fnn.Sequential(fnn.Flatten(), fnn.Dense(128))
    params, _ = model.init(jax.random.key(0), jnp.zeros((8, 8, 1)))
    with pytest.raises(ValueError, match="initialized") as error:
        model(params, jnp.zeros((32, 8, 8, 1)))
    page = (DOCS / "sharp_edges.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\nValueError: (.*?)```", page, re.DOTALL)[1]
    message = f"{error.value} {' '.join(error.value.__notes__)}"
    assert shown.split() == message.split()


def test_reference_has_every_public_name():
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst")
    )
    named = set(re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)", text, re.M))
    whole = re.findall(r"^\.\. automodule:: (\S+)\n   :imported-members:", text, re.M)
    named |= {name for name in NAMES if name.rpartition(".")[0] in whole}
    assert sorted(NAMES - named) == []


def test_overview_has_every_public_name():
    """A row for each: its name as it is written in code, after the heading's module."""
    text = (DOCS / "overview.md").read_text(encoding="utf-8")
    named = set()
    for section in text.split("\n## ")[1:]:
        module = re.search(r"^`(fnn[\w.]*)`", section.partition("\n")[2].strip())
        for name in re.findall(r"^\| `([\w.]+)", section, re.M):
            named.add(f"{module[1]}.{name}" if module else name)
    assert sorted(NAMES - named) == []
    assert sorted(n for n in named - NAMES if not known(n)) == []


def known(name):
    """Return whether a dotted name is to be had from fnn."""
    thing = fnn
    for part in name.split(".")[1:]:
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


@pytest.mark.parametrize(
    ("thing", "line", "shown"),
    [
        (fnn.Layer.apply, "needed when `train`.", "needed when ``train``."),
        (fnn.Layer, "`init` and `apply`, `train`", "`init` and `apply`, ``train``"),
        (fnn.fit, "`checkpoint`, its axis `data`", "``checkpoint``, its axis ``data``"),
        (fnn.fit, "`fnn.data`, ``data``, `train`", "`fnn.data`, ``data``, `train`"),
        (fnn.export, "the extra `export`; `predict`", "the extra ``export``; `predict`"),
        (fnn.losses, "`huber`", "`huber`"),
    ],
)
def test_words_of_the_site_are_links_only_where_that_is_meant(thing, line, shown):
    """A word in one pair of backticks is a link to what has that name; in two, code."""
    lines = ["Returns:", f"    {line}"]
    runpy.run_path(str(DOCS / "conf.py"))["leave_words"](None, "", "", thing, None, lines)
    assert lines == ["Returns:", f"    : {shown}"]


def test_no_page_has_the_name_of_one_that_sphinx_writes():
    """It would be written over, without a warning."""
    own = {"search", "genindex", "modindex", "py-modindex"}
    pages = {path.stem for path in DOCS.iterdir() if path.suffix in (".md", ".rst")}
    assert "index" in pages
    assert own & pages == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "examples/README.md"])
def test_links_lead_somewhere(name):
    """Those of the site are checked when it is built."""
    page = ROOT / name
    links = re.findall(
        r"(?:\]\(|src=\")(?!https?:|#)([^)#\"\s]+)", page.read_text(encoding="utf-8")
    )
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "README.md", ROOT / "examples" / "README.md"],
    ids=lambda page: page.name,
)
def test_names_exist(page):
    names = set(
        re.findall(r"(?<![\w/.])fnn(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8"))
    )
    missing = sorted(name for name in names if not known(name))
    assert missing == []


def test_modules_are_in_the_reference():
    text = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    for module in MODULES[1:]:
        assert module.__name__.removeprefix("fnn.") in text
