"""`csv:FILE`: a table that names every image.

    path,label[,group][,split]

The first line names the columns, in any order. Any other column, such as `camera`, says something about the images, and
an evaluation compares its values. Columns are separated by commas, semicolons or tabs. `path` is relative to the
table's folder. Images of one `group` (a person, a patient) stay in one part. `split` is train, val or test, or another
usual name such as training, valid, dev or testing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from classicnets.data.sources.given import Entry, Given, given_files
from classicnets.data.sources.part_names import plain_part
from classicnets.data.words import counted
from classicnets.errors import BadImage, DataError

_NEEDED = ("path", "label")
_READ = (*_NEEDED, "split")


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    group: str | None
    split: str
    columns: Mapping[str, str]
    had_backslashes: bool = False


def read_table(file: Path) -> Given:
    """Read what the table `file` names.

    Raises DataError, with the number of the line, if the table cannot be understood or no image of train exists.
    """
    file = file.absolute()
    rows = _rows_by_path(file)
    entries: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
    labels: dict[str, set[str]] = {part: set() for part in entries}
    missing = []
    read_as: dict[str, str] = {}
    for row in rows.values():
        where = f"line {row.line}"
        part = plain_part(row.split)
        if part is None:
            raise DataError(f"{file}, {where}: the split is {row.split!r}; it must be train, val or test.")
        if row.split.casefold() != part:
            read_as[row.split] = part
        labels[part].add(row.label)
        path = file.parent / row.path
        if path.exists():
            entries[part].append(Entry(row.path, path, row.label, row.group, row.columns))
        else:
            missing.append(BadImage(row.path, f"no such file ({where} of {file.name})"))
    if not entries["train"]:
        reason = "no line has split train"
        if missing:
            reason = f"none of its {counted(len(rows), 'file')} exists; the first is {missing[0]}"
        raise DataError(f"{file} has no training images: {reason}. Paths are relative to {file.parent}.")
    notes = []
    if read_as:
        notes.append(f"read the split {', '.join(f'{name!r} as {part}' for name, part in read_as.items())}")
    converted = sum(row.had_backslashes for row in rows.values())
    if converted:
        notes.append(f"read the backslashes in {counted(converted, 'path')} as /")
    return given_files(
        file,
        {part: some for part, some in entries.items() if labels[part]},
        {part: tuple(sorted(some)) for part, some in labels.items()},
        problems=[],
        notes=notes,
        missing=missing,
    )


def _rows_by_path(file: Path) -> dict[str, _Row]:
    """The rows of the table, in order. Raises DataError if two rows name one file or there are no rows."""
    rows: dict[str, _Row] = {}
    for row in _rows(file):
        slashes = row.path.replace("\\", "/")
        if slashes != row.path and not (file.parent / row.path).exists() and (file.parent / slashes).exists():
            row = row._replace(path=slashes, had_backslashes=True)
        if before := rows.get(row.path):
            raise DataError(_twice(file, before, row))
        rows[row.path] = row
    if not rows:
        raise DataError(f"{file} names no images; it ends after its first line.")
    return rows


def _twice(file: Path, before: _Row, row: _Row) -> str:
    where = f"{file}, line {row.line}: {row.path} is in line {before.line} already"
    if row.label == before.label:
        return f"{where}. Remove one of the two lines."
    return (
        f"{where}, with the label {before.label!r} there and {row.label!r} here. classicnets gives an image one label, "
        f"not several: keep one of the two lines."
    )


def _rows(file: Path) -> Iterator[_Row]:
    """Each line of the table below the first. Raises DataError for what is not a table, or a line that is not whole."""
    text = _text(file)
    delimiter = _delimiter(text.partition("\n")[0], file)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    try:
        for cells in reader:
            where = f"{file}, line {reader.line_num}"
            if None in cells or None in cells.values():
                raise DataError(f"{where}: there must be {len(reader.fieldnames)} columns, as in the first line.")
            values = {name: value.strip() for name, value in cells.items()}
            for name in _NEEDED:
                if not values[name]:
                    raise DataError(f"{where}: the {name} is empty. Fill it in, or remove the line.")
            split = values.get("split", "train")
            columns = {name: value for name, value in values.items() if name and name not in _READ}
            yield _Row(reader.line_num, values["path"], values["label"], values.get("group"), split, columns)
    except csv.Error as error:
        raise DataError(f"{file}, after line {reader.line_num}: {error}. Save the table as CSV again.") from None


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: this is not UTF-8 text. Save the table as CSV in UTF-8.") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}. Give a CSV file with the columns path,label.") from None


def _delimiter(header: str, file: Path) -> str:
    """The character between the columns. Raises DataError if the first line does not name the columns."""
    for delimiter in ",;\t":
        columns = [name.strip().strip('"').casefold() for name in header.strip("\r").split(delimiter)]
        if all(name in columns for name in _NEEDED):
            twice = sorted({name for name in columns if columns.count(name) > 1})
            if twice:
                raise DataError(f"{file}, line 1: the column {', '.join(twice)} appears twice. Rename one.")
            return delimiter
    raise DataError(
        f"{file}, line 1: the first line must name the columns, path and label among them "
        f"(path,label[,group][,split]); got {header.strip()[:100]!r}."
    )
