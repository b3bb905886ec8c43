"""The floors: a module imports only from floors below its own, or from its package."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fnn"

FLOORS = [
    {"types", "suggestions", "tables"},
    {"values", "lazy", "descriptions"},
    {"checks", "platforms"},
    {"squares"},
    {
        "explaining",
        "tree",
        "activations",
        "initializers",
        "losses",
        "metrics",
        "schedules",
        "data",
    },
    {
        "layers.base",
        "layers.running",
        "layers.composite",
        "layers.parts",
        "layers.batching",
        "layers.combinators",
        "regularizers",
        "checkpoint",
        "sharding",
    },
    {"layers", "optimizers", "per_example"},
    {"models", "training", "inspection", "inference", "pytorch"},
    {"search", "plots", "diagnostics"},
]
# Within a package: a room imports only from the rooms before its own, or from itself.
ROOMS = {
    "per_example": [
        {"parts"},
        {"tracing"},
        {"report"},
        {"factored"},
        {"questions", "privacy"},
    ],
}
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
CORE = {"jax", "numpy"}
EXTRAS = {
    "dp_accounting",
    "matplotlib",
    "orbax",
    "rich",
    "scipy",
    "sklearn",
    "tensorboardX",
    "torch",
}

FILES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def floor_of(module):
    """Return the floor of a module, which is its own or that of its package."""
    top = module.split(".")[0]
    return FLOOR.get(module, FLOOR.get(top))


def imports_of(path):
    """Yield the modules that a file imports, and whether it does so at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        at_top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "fnn":
            yield from ((f"fnn.{alias.name}", at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module, at_top


@pytest.mark.parametrize("path", FILES, ids=map(module_of, FILES))
def test_imports_point_down(path):
    module = module_of(path)
    assert floor_of(module) is not None, f"{module} stands on no floor"
    package = module.split(".")[0]
    for imported, _ in imports_of(path):
        if imported.startswith("fnn."):
            target = imported.removeprefix("fnn.")
            same_package = target.split(".")[0] == package and (PACKAGE / package).is_dir()
            assert same_package or floor_of(target) < floor_of(module), (
                f"{module} imports {target}, which does not lie below it"
            )


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_from_rooms_below(package):
    order = {room: floor for floor, rooms in enumerate(ROOMS[package]) for room in rooms}
    for path in (PACKAGE / package).rglob("*.py"):
        module = module_of(path).removeprefix(package).lstrip(".")
        if not module:
            continue  # the package itself has the public names of all rooms
        room = module.split(".")[0]
        for imported, _ in imports_of(path):
            if imported.startswith(f"fnn.{package}."):
                target = imported.removeprefix(f"fnn.{package}.").split(".")[0]
                assert target == room or order[target] < order[room], (
                    f"{module} imports {imported}, which does not lie below it"
                )


def test_the_lower_layers_import_no_upper_ones():
    lower = ("base", "running", "composite", "parts", "batching", "combinators")
    for name in lower:
        for imported, _ in imports_of(PACKAGE / "layers" / f"{name}.py"):
            if imported.startswith("fnn.layers."):
                assert imported.removeprefix("fnn.layers.") in lower


@pytest.mark.parametrize("path", FILES, ids=map(module_of, FILES))
def test_the_core_needs_jax_and_numpy_alone(path):
    import sys

    for imported, at_top in imports_of(path):
        top = imported.split(".")[0]
        if top in sys.stdlib_module_names | CORE | {"fnn"}:
            continue
        assert top in EXTRAS, f"{path.name} imports {top}"
        in_type_checking = "if TYPE_CHECKING" in path.read_text(encoding="utf-8")
        assert not at_top or in_type_checking, f"{path.name} imports {top} at its top"


@pytest.mark.parametrize("path", FILES, ids=map(module_of, FILES))
def test_only_public_modules_of_jax_are_used(path):
    private = {"core", "interpreters", "lib"}
    for imported, _ in imports_of(path):
        package, *modules = imported.split(".")
        if package in ("jax", "jaxlib"):
            public = package == "jax" and not private.intersection(modules[:1])
            public = public and not any(name.startswith("_") for name in modules)
            assert public, f"{path.name} imports {imported}"
    assert "._src" not in path.read_text(encoding="utf-8")


TAKEN = "base", "running", "batching", "agreement"
"""Modules of `layers` that training takes, none of which is a concrete layer."""


@pytest.mark.parametrize("package", ["training"])
def test_training_takes_values_and_functions(package):
    """It imports no concrete layer, loss or optimizer."""
    concrete = {"losses", "metrics", "activations", "initializers", "data.datasets"}
    for path in (PACKAGE / package).rglob("*.py"):
        for imported, _ in imports_of(path):
            target = imported.removeprefix("fnn.")
            assert target not in concrete
            if target.startswith("layers."):
                assert target in {f"layers.{name}" for name in TAKEN}
            if target.startswith("optimizers."):
                assert target == "optimizers.base"


SOURCES = sorted(
    path
    for folder in ("fnn", "tests", "benchmarks", "examples", "docs")
    for path in (PACKAGE.parent / folder).rglob("*.py")
)


def is_text_in_any_encoding(call):
    """Return whether a call opens, reads or writes a text and names no encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg for keyword in call.keywords}
    if "encoding" in given or name not in {"open", "read_text", "write_text"}:
        return False
    if name != "open" or "newline" in given:
        return True
    texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    modes = [text for text in texts if set(str(text)) <= set("rwaxbt+")]
    builtin = isinstance(call.func, ast.Name)
    return any("b" not in mode for mode in modes) or (builtin and not modes)


def test_texts_are_read_and_written_in_utf_8():
    """Else they would be in that of the machine, which has no words for ‖ and α."""
    unspecified = [
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_text_in_any_encoding(node)
    ]
    assert not unspecified


def test_files_are_short():
    lengths = sorted(
        len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")
    )
    assert lengths[-1] <= 500
    assert lengths[len(lengths) // 2] < 200
    assert len((PACKAGE / "__init__.py").read_text(encoding="utf-8").splitlines()) < 80


def test_no_module_bears_the_name_of_what_it_exports():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        assert path.stem not in names, f"{path} exports {path.stem}"


UNPLAIN = {
    r"(^|[.:;|#] |\"{3})Of [^.\"]{3,60}, ": "begin with the subject, not 'Of X,'",
    r"\bso (many|much)\b(?! (?:that|as)\b)": "use the argument's name, or 'this many'",
    r"(?<!there )(?<!There )\b(is|are|be) no (?!longer|more|less|other|such)[a-z]": (
        "negate the verb: 'is not a', 'neither ... nor'"
    ),
}
"""Patterns that break the rules for plain English in CONTRIBUTING.md, and the remedy."""


def unplain(text):
    """Yield the number of each line that breaks a rule, with the remedy."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, remedy in UNPLAIN.items():
            if re.search(pattern, line.strip()):
                yield number, f"{remedy}: {line.strip()}"


@pytest.mark.parametrize(
    ("line", "breaks"),
    [
        ("Of no example, it is NaN.", True),
        ("# Of few channels, runs are taken.", True),
        ("# takes so many steps", True),
        ("If it is no glob.", True),
        ("Source: Of mice and men.", False),
        ("It is no longer needed.", False),
        ("If there are no examples.", False),
    ],
)
def test_unplain_prose_is_found(line, breaks):
    assert bool(list(unplain(line))) == breaks


def test_prose_is_plain():
    root = PACKAGE.parent
    texts = [root / "README.md"]
    for folder in ("fnn", "docs", "examples"):
        for suffix in ("py", "pyi", "md"):
            texts += (root / folder).rglob(f"*.{suffix}")
    found = [
        f"{path.relative_to(root)}:{number}: {problem}"
        for path in sorted(texts)
        for number, problem in unplain(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)
