"""Everything that is exported has a docstring with an example, and nothing else shows."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fnn
import fnn.pytorch


def statements(package):
    """Return the statements that say what a package exports: its stub's, if it has one."""
    stub = Path(package.__file__).with_suffix(".pyi")
    if stub.exists():
        return ast.parse(stub.read_text(encoding="utf-8")).body
    return ast.parse(inspect.getsource(package)).body[1:]


EXPORTS = {
    alias.asname: getattr(fnn, alias.asname)
    for node in statements(fnn)
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
MODULES = [
    fnn,
    fnn.pytorch,
    *(thing for _, thing in sorted(EXPORTS.items()) if inspect.ismodule(thing)),
]


def defined_here(module, thing):
    origin = getattr(thing, "__module__", "")
    inside = origin == module.__name__ or origin.startswith(module.__name__ + ".")
    return inside and (inspect.isfunction(thing) or inspect.isclass(thing))


PUBLIC = {
    f"{module.__name__}.{name}": thing
    for module in MODULES
    for name in dir(module)
    if not name.startswith("_") and defined_here(module, thing := getattr(module, name))
}


@pytest.mark.parametrize("name", PUBLIC)
def test_exported_thing_is_documented_with_an_example(name):
    thing = PUBLIC[name]
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    doc = own or ""
    if inspect.isclass(thing) and issubclass(thing, tuple):
        # Results of functions; the functions' examples show them.
        assert doc
        assert not doc.startswith(f"{thing.__name__}(")
        return
    assert ">>> " in doc, f"{name} has no example"
    assert doc.splitlines()[0].endswith((".", ":")), f"{name}: one line, with a full stop"


def test_what_may_be_left_out_is_explained():
    """A function with optional arguments says what its arguments are."""
    bare = [
        name
        for name, thing in PUBLIC.items()
        if inspect.isfunction(thing) and "Args:" not in thing.__doc__
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.default is not parameter.empty
    ]
    assert bare == []


def test_public_methods_are_documented():
    """By themselves, or by the class whose protocol they follow."""
    described = (inspect.isfunction, inspect.isdatadescriptor, inspect.ismethoddescriptor)
    bare = [
        f"{name}.{attribute}"
        for name, thing in PUBLIC.items()
        if inspect.isclass(thing)
        for attribute, value in vars(thing).items()
        if not attribute.startswith("_")
        and any(is_kind(value) for is_kind in described)
        and not inspect.getdoc(getattr(thing, attribute))
    ]
    assert bare == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_is_documented(module):
    assert module.__doc__


# Errors for missing names; not an export.
EXPLAINED = {
    "from fnn.lazy import explain_missing as _explain_missing",
    "_explain_missing(__name__)",
}
PACKAGES = [module for module in MODULES if hasattr(module, "__path__")]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_package_only_re_exports_by_name(package):
    """A package does not leak names that it does not export."""
    for node in statements(package):
        if ast.unparse(node) in EXPLAINED:
            continue
        if isinstance(node, ast.AnnAssign):
            assert node.target.id == "__version__"
            continue
        assert isinstance(node, ast.ImportFrom)
        assert node.module.split(".")[0] == "fnn"
        for alias in node.names:
            assert alias.name == alias.asname
            assert not alias.name.startswith("_")


@pytest.mark.parametrize("name", PUBLIC)
def test_signatures_have_no_catch_all(name):
    """Names in combinators are the user's choice; nothing else takes any keyword."""
    thing = PUBLIC[name]
    if inspect.isclass(thing) and issubclass(
        thing, fnn.layers.combinators._OfParts | Exception
    ):
        return
    parameters = inspect.signature(thing).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters)


def test_importing_needs_nothing_but_jax_and_numpy():
    """No extra is imported, and no array is made, by importing all of fnn."""
    code = (
        "import sys, jax, fnn;"
        "everything = [getattr(fnn, name) for name in dir(fnn)];"
        "extras = {'matplotlib', 'rich', 'sklearn', 'chex', 'optax', 'flax'};"
        "extras |= {'dp_accounting'};"
        "print(sorted(extras & set(sys.modules)), len(jax.live_arrays()))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["[]", "0"], result.stderr


def test_modules_are_imported_when_they_are_used():
    code = (
        "import sys, fnn; first = {*sys.modules}; fnn.fit, fnn.Dense, fnn.optimizers;"
        "used = {*sys.modules}; fnn.optimizers.Adam, fnn.layers.Dense;"
        "print('jax' in first, 'fnn.layers' in first, 'fnn.per_example' in used,"
        " 'fnn.layers.linear' in used, 'fnn.layers.pooling' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == ["False", "False", "False", "True", "False"]


def test_there_is_nothing_else():
    assert {*EXPORTS, "__version__"} <= {*dir(fnn)}
    with pytest.raises(AttributeError, match="module 'fnn' has no attribute 'dense'"):
        fnn.dense  # noqa: B018
    with pytest.raises(AttributeError, match=r"'fnn\.data' has no attribute 'mixup'"):
        fnn.data.mixup  # noqa: B018
