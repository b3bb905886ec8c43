"""Configuration of Sphinx: `python -m sphinx -W --keep-going -n docs build/docs`."""

import re

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


def escape(app, what, name, obj, options, lines):  # noqa: ARG001
    """Let |x| be no substitution of reStructuredText, and an indented formula literal."""
    text, prompt, example = "\n".join(lines).partition(">>>")
    text = text.replace("|", r"\|")
    text = re.sub(
        r"(?m)^\n((?: {4}.*\n)+)", lambda m: "\n::\n\n" + m[1].replace(r"\|", "|"), text
    )
    lines[:] = f"{text}{prompt}{example}".split("\n")


def skip_fields(app, what, name, obj, skip, options):  # noqa: ARG001
    """Leave out the fields of named tuples, which the signature has."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    """Connect what changes docstrings."""
    app.connect("autodoc-process-docstring", escape)
    app.connect("autodoc-skip-member", skip_fields)
