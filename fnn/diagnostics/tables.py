"""Numbers as text, and tables of `rich`, which is imported only to draw one."""

import math
from collections.abc import Sequence
from typing import Any


def number(value: float) -> str:
    """Return a number in three digits, and a dash in place of one that is not known.

    Example:
        >>> number(0.12345), number(1234567.0), number(0.0), number(float("nan"))
        ('0.123', '1.2e+06', '0', '-')
    """
    if math.isnan(value):
        return "-"
    plain = value == 0 or 0.01 <= abs(value) < 1000
    return f"{value:.3g}" if plain else f"{value:.1e}"


def share(value: float) -> str:
    """Return a share as a percentage, and a dash in place of one that is not known.

    Example:
        >>> share(0.5), share(float("nan"))
        ('50%', '-')
    """
    return f"{value:.0%}" if not math.isnan(value) else "-"


def rich_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: int,
    marked: Sequence[bool],
    caption: str,
) -> Any:
    """Return a `rich.table.Table`, the last columns, of numbers, to the right.

    Args:
        header: The names of the columns.
        rows: The cells.
        numbers: How many columns hold numbers.
        marked: Which rows stand out.
        caption: What stands below.
    """
    from rich.table import Table

    table = Table(caption=caption, caption_justify="left", caption_style="")
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i >= len(header) - numbers else "left")
    for row, mark in zip(rows, marked, strict=True):
        table.add_row(*row, style="bold red" if mark else None)
    return table
