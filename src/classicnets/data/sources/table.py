"""`csv:FILE`: a table that names every image.

    path,label[,group][,split]

The first line names the columns, in any order. Columns are separated by commas, semicolons or tabs. `path` is relative
to the table's folder. Images of one `group` (a person, a patient) stay in one part. `split` is train, val or test, or
another usual name such as training, valid, dev or testing. Other columns do not change a training; audits read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from classicnets.data.csv_rows import csv_rows
from classicnets.data.sources.given import Entry, Given, given_files
from classicnets.data.sources.part_names import plain_part
from classicnets.data.words import counted
from classicnets.errors import BadImage, DataError

_NEEDED = ("path", "label")
_KNOWN = (*_NEEDED, "group", "split")


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    group: str | None
    split: str
    columns: dict[str, str]
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
    for line, values in csv_rows(file, _NEEDED, known=_KNOWN, form="path,label[,group][,split]"):
        columns = {name: value for name, value in values.items() if name and name not in _KNOWN}
        split = values.get("split", "train")
        yield _Row(line, values["path"], values["label"], values.get("group"), split, columns)
