"""A table as CSV, written in one way everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(columns: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Return a table as CSV: the names of its columns, then its rows, with a line feed after each.

    >>> csv_text(("path", "label"), [("a.jpg", "cat")])
    'path,label\na.jpg,cat\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
