"""The Python code of Markdown pages."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


class Block(NamedTuple):
    """Code, where it begins, and the title of the tab that it stands in, or `""`."""

    code: str
    line: int
    tab: str


def python_blocks(path):
    """Return the blocks of a page that are marked as Python, in order."""
    blocks, tab, code = [], "", None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if code is not None and line != "```":
            code.append(line)
        elif code is not None:
            blocks.append(Block("\n".join(code), number - len(code), tab))
            code = None
        elif line == "```python":
            code = []
        elif opened := re.fullmatch(r":::\{tab-item\} (.*)", line):
            tab = opened[1]
        elif line == ":::":
            tab = ""
    return blocks


def run(path, blocks, namespace):
    """Execute blocks in order in one namespace, as a notebook would."""
    for block in blocks:
        code = "\n" * (block.line - 1) + block.code
        exec(compile(code, str(path), "exec"), namespace)
