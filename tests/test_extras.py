"""The extras of the package: those that are named exist, and README has them all."""

import ast
import itertools
import re
import tomllib

import pytest
from pages import ROOT
from test_architecture import CORE, EXTRAS, FILES, imports_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OFFERED = PROJECT["optional-dependencies"]
FOLDERS = ("fnn", "docs", "examples", "benchmarks", ".ci")
TEXTS = [
    *ROOT.glob("*.md"),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()),
]
TEXTS = [path for path in TEXTS if path.suffix in (".md", ".rst", ".py", ".toml", "")]
# `pip install 'fnn[plots]'`, `pip install -e ".[docs]"`, "the extra `data`".
NAMED = re.compile(r"(?:\bfnn|\.)\[([a-z]+(?:,[a-z]+)*)\]|\bextra[\s#*]+`(\w+)`")
# Distributions by the module that they hold, where the names differ.
DISTRIBUTIONS = {
    "dp_accounting": "dp-accounting",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
}


def named_in(text):
    for several, one in NAMED.findall(text):
        yield from (several or one).split(",")


def required_by(extra):
    """Return the distributions that an extra brings, those of the extras in it included."""
    found = set()
    for requirement in OFFERED[extra]:
        name = re.match(r"[\w-]+", requirement)[0]
        if name == PROJECT["name"]:
            found |= set().union(*map(required_by, named_in(requirement)))
        else:
            found.add(name)
    return found


def test_extras_that_are_named_exist():
    assert {"data", "plots", "tensorboard"} <= OFFERED.keys()
    texts = [*TEXTS, ROOT / "pyproject.toml"]
    named = {
        (name, path)
        for path in texts
        for name in named_in(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 15
    assert sorted((name, path.name) for name, path in named if name not in OFFERED) == []


def test_readme_says_what_every_extra_is_for():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| extra | for |")[2]
    rows = itertools.takewhile(lambda line: line[:1] == "|", table.splitlines()[1:])
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(OFFERED)


def hints(path):
    """Yield a module that a file tries to import, and the hint for where it lacks."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Try) and "pip install" in ast.unparse(node.handlers):
            for step in node.body:
                module = step.names[0].name if isinstance(step, ast.Import) else step.module
                yield module.split(".")[0], ast.unparse(node.handlers)


HINTS = [hint for path in FILES for hint in hints(path)]


@pytest.mark.parametrize(("module", "hint"), HINTS, ids=[module for module, _ in HINTS])
def test_the_extra_that_an_error_names_brings_what_lacks(module, hint):
    (extra,) = named_in(hint)
    distribution = DISTRIBUTIONS.get(module, module)
    assert distribution in required_by(extra)
    assert distribution in hint


def test_what_fnn_imports_where_it_is_used_is_in_an_extra():
    """PyTorch is the user's own; SciPy comes with JAX."""
    imported = {name.split(".")[0] for path in FILES for name, _ in imports_of(path)}
    lacking = imported & EXTRAS - CORE - {"torch", "scipy"}
    offered = set().union(*map(required_by, OFFERED))
    assert {DISTRIBUTIONS.get(module, module) for module in lacking} <= offered
