"""Tables for a terminal, in plain text."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 80
"""Columns of a terminal that every table and text fits into."""


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Return the lines of a table: header, a rule, and a line per row.

    Args:
        header: the name of each column.
        rows: the cells of each row, as many as `header` has.
        words: how many columns, from the first, hold words and are aligned to the left. The others are numbers.

    >>> aligned(["model", "layers"], [["vgg16", "16"]], words=1)
    ['model  layers', '-----  ------', 'vgg16      16']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for cells in (header, ["-" * width for width in widths], *rows):
        placed = zip(cells, widths, strict=True)
        line = [cell.ljust(width) if i < words else cell.rjust(width) for i, (cell, width) in enumerate(placed)]
        lines.append("  ".join(line).rstrip())
    return lines


def sides(pair: tuple[int, int] | None) -> str:
    """Return a size along rows and columns: one number if they are equal, "" for None.

    >>> sides((3, 3)), sides((1, 7)), sides(None)
    ('3', '1x7', '')
    """
    return "x".join(map(str, dict.fromkeys(pair or ())))


def mebibytes(size: int) -> str:
    """Return a number of bytes in MiB: two digits behind the point below 100 MiB, none above.

    >>> mebibytes(3 * 2**19), mebibytes(2**31)
    ('1.50', '2,048')
    """
    return f"{size / 2**20:,.2f}" if size < 100 * 2**20 else f"{size / 2**20:,.0f}"
