"""Tables as plain text and for `rich`, and the numbers in their cells."""

import math
import shutil
from collections.abc import Sequence
from typing import Any

NARROWEST = 80
"""Columns of a terminal that a table may always take."""


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str] | str],
    *,
    numbers: int,
    total: Sequence[str] = (),
    ruled: bool = True,
    shrinking: Sequence[tuple[int, int]] = (),
) -> str:
    """Return a table of text, with columns two spaces apart.

    Args:
        header: The names of the columns, or nothing for a table without a header.
        rows: The cells of each row. A row that is a string is a heading, which takes the
            place of the first two columns.
        numbers: How many of the last columns hold numbers and are aligned to the right.
        total: A last row, below a rule.
        ruled: Whether a rule stands below the header.
        shrinking: Columns that may be shortened to fit the terminal, of 80 characters at
            least, in this order, and to what width. If there are none, nothing is cut.

    Example:
        >>> rows = [("kernel", "12"), ("bias", "3")]
        >>> print(text_table(("name", "size"), rows, numbers=1, total=("total", "15")))
        name    size
        ------  ----
        kernel    12
        bias       3
        ------  ----
        total     15
    """
    whole = [row for row in (header, *rows, total) if row and not isinstance(row, str)]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    if shrinking:
        widths = _fitted(widths, shrinking)
    rule = "  ".join("-" * width for width in widths)
    lines = [_line(row, widths, numbers) for row in rows]
    if header:
        lines[:0] = [_line(header, widths, numbers), *([rule] if ruled else [])]
    if total:
        lines += [rule, _line(total, widths, numbers)]
    return "\n".join(lines)


def rich_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: int,
    marked: Sequence[bool] = (),
    caption: str = "",
) -> Any:
    """Return a `rich.table.Table`; rich is imported only here.

    Args:
        header: The names of the columns.
        rows: The cells.
        numbers: How many of the last columns hold numbers and are aligned to the right.
        marked: For each row, whether it stands out; by default none does.
        caption: The text below the table.
    """
    from rich.table import Table

    table = Table(caption=caption, caption_justify="left", caption_style="")
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i >= len(header) - numbers else "left")
    for row, mark in zip(rows, marked or [False] * len(rows), strict=True):
        table.add_row(*row, style="bold red" if mark else None)
    return table


def number(value: float) -> str:
    """Return a number in three digits, and a dash for NaN.

    Example:
        >>> number(0.12345), number(1234567.0), number(0.0), number(float("nan"))
        ('0.123', '1.2e+06', '0', '-')
    """
    if math.isnan(value):
        return "-"
    plain = value == 0 or 0.01 <= abs(value) < 1000
    return f"{value:.3g}" if plain else f"{value:.1e}"


def share(value: float) -> str:
    """Return a share as a percentage, and a dash for NaN.

    Example:
        >>> share(0.5), share(float("nan"))
        ('50%', '-')
    """
    return f"{value:.0%}" if not math.isnan(value) else "-"


def shorten(text: str, width: int) -> str:
    """Return at most `width` characters, cut between arguments where that is possible.

    Example:
        >>> shorten("Conv(16, (3, 3), padding=1, bias=False)", 24)
        'Conv(16, (3, 3), …)'
        >>> shorten("a_function_with_a_long_name", 12)
        'a_function_…'
    """
    if len(text) <= width:
        return text
    depth = cut = 0
    for i, character in enumerate(text[: width - 3]):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 1:
            cut = i
    if cut and text.endswith(")"):
        return f"{text[:cut]}, …)"
    return f"{text[: width - 1]}…"


def _fitted(widths: list[int], shrinking: Sequence[tuple[int, int]]) -> list[int]:
    """Return widths of columns that fit the terminal, as far as they may shrink."""
    excess = sum(widths) + 2 * (len(widths) - 1)
    excess -= max(NARROWEST, shutil.get_terminal_size().columns)
    fitted = list(widths)
    for column, least in shrinking:
        cut = max(0, min(excess, fitted[column] - least))
        fitted[column] -= cut
        excess -= cut
    return fitted


def _line(row: Sequence[str] | str, widths: Sequence[int], numbers: int) -> str:
    if isinstance(row, str):
        return shorten(row, sum(widths[:2]))
    cells = [(shorten(cell, width), width) for cell, width in zip(row, widths, strict=True)]
    texts = len(row) - numbers
    left = [cell.ljust(width) for cell, width in cells[:texts]]
    right = [cell.rjust(width) for cell, width in cells[texts:]]
    return "  ".join([*left, *right]).rstrip()
