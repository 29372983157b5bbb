"""Read the rows of a CSV file that a person wrote or saved: in any order of columns, with any of three separators."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from classicnets.errors import DataError


def csv_rows(
    file: Path, needed: Collection[str], *, known: Collection[str], form: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each line below the first: its number, and its cells by the name of their column, without spaces around.

    Args:
        file: text in UTF-8, with or without a byte order mark. Its first line names the columns, which are separated by
            commas, semicolons or tabs.
        needed: columns that must be there, and whose cells may not be empty.
        known: columns whose names are read in any case. Others keep their spelling.
        form: the first line as it should be, such as "path,label[,group]".

    Raises DataError, with the number of the line, for what is not such a table.
    """
    text = _text(file, form)
    delimiter = _delimiter(text.partition("\n")[0], file, needed, form)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = [name.casefold() if name.casefold() in known else name for name in names]
    try:
        for cells in reader:
            where = f"{file}, line {reader.line_num}"
            if None in cells or None in cells.values():
                raise DataError(f"{where}: there must be {len(names)} columns, as in the first line.")
            values = {name: value.strip() for name, value in cells.items()}
            for name in needed:
                if not values[name]:
                    raise DataError(f"{where}: the {name} is empty. Fill it in, or remove the line.")
            yield reader.line_num, values
    except csv.Error as error:
        raise DataError(f"{file}, after line {reader.line_num}: {error}. Save the table as CSV again.") from None


def _text(file: Path, form: str) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: this is not UTF-8 text. Save the table as CSV in UTF-8.") from None
    except OSError as error:
        columns = form.partition("[")[0]
        raise DataError(f"{file}: {error.strerror}. Give a CSV file with the columns {columns}.") from None


def _delimiter(header: str, file: Path, needed: Collection[str], form: str) -> str:
    """The character between the columns. Raises DataError if the first line does not name the columns."""
    for delimiter in ",;\t":
        columns = [name.strip().strip('"').casefold() for name in header.strip("\r").split(delimiter)]
        if all(name in columns for name in needed):
            twice = sorted({name for name in columns if columns.count(name) > 1})
            if twice:
                raise DataError(f"{file}, line 1: the column {', '.join(twice)} appears twice. Rename one.")
            return delimiter
    raise DataError(
        f"{file}, line 1: the first line must name the columns, {' and '.join(needed)} among them ({form}); "
        f"got {header.strip()[:100]!r}."
    )
