"""Configuration of Sphinx: `python -m sphinx -W --keep-going -n docs build/docs`."""

import inspect
import re
from contextlib import suppress
from pathlib import Path

import fnn
import fnn.per_example
import fnn.pytorch

project = "fnn"
author = "the authors of fnn"
release = version = fnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "fnn"
html_show_copyright = False

default_role = "py:obj"  # what stands between backticks in docstrings
# A name of fnn's by itself must be documented; anything else is code.
nitpick_ignore_regex = [("py:class", ".*"), ("py:obj", r"(?s)(?!fnn\.[\w.]+$).*")]
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False


MODULES = {path.stem for path in Path(fnn.__file__).parent.iterdir()}


def arguments(obj):
    """Return the names of the arguments of a function, or of a class and its methods."""
    things = [obj]
    if inspect.isclass(obj):
        things += filter(inspect.isfunction, vars(obj).values())
    names = set()
    for thing in things:
        with suppress(TypeError, ValueError):  # exceptions and properties have none
            names |= inspect.signature(thing).parameters.keys()
    return names


def leave_words(app, what, name, obj, options, lines):  # noqa: ARG001
    """Let arguments, extras and modules be words, no links, and "Returns" be all text.

    Text between backticks links to the object of that name: the argument `train` to
    the function, the axis `data` to the module. And Napoleon takes what stands before a
    colon for a type, unless that is nothing.
    """
    words = MODULES | arguments(obj)
    text = re.sub(r"\b(extra\s+)`(\w+)`", r"\1``\2``", "\n".join(lines))
    text = re.sub(
        r"(?<![`:])`(\w+)`(?!`)",
        lambda m: f"``{m[1]}``" if m[1] in words else m[0],
        text,
    )
    text = re.sub(r"(?m)^( *Returns:\n +)", r"\1: ", text)
    lines[:] = text.split("\n")


def escape(app, what, name, obj, options, lines):  # noqa: ARG001
    """Keep |x| from being a substitution, and an indented formula literal."""
    text, prompt, example = "\n".join(lines).partition(">>>")
    text = text.replace("|", r"\|")
    text = re.sub(
        r"(?m)^\n((?: {4}.*\n)+)", lambda m: "\n::\n\n" + m[1].replace(r"\|", "|"), text
    )
    lines[:] = f"{text}{prompt}{example}".split("\n")


# NumPy's union of what can become an array, as it is written out in signatures.
ARRAY_LIKE = re.compile(
    r"[\w.~]*_Buffer \| (?:(?!, \w+: ).)*?[\w.~]*_NestedSequence\[complex \| bytes \| str\]"
)


def name_unions(app, what, name, obj, options, signature, returned):  # noqa: ARG001
    """Call what can become an array `ArrayLike`, as the code does."""
    named = [ARRAY_LIKE.sub("ArrayLike", part or "") for part in (signature, returned)]
    return tuple(part or None for part in named)


def skip_fields(app, what, name, obj, skip, options):  # noqa: ARG001
    """Leave out the fields of named tuples, which the signature has."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    """Connect what changes docstrings: before Napoleon, and after it."""
    app.connect("autodoc-process-docstring", leave_words, priority=400)
    app.connect("autodoc-process-docstring", escape)
    app.connect("autodoc-process-signature", name_unions)
    app.connect("autodoc-skip-member", skip_fields)
