"""`csv:FILE`: a table that names every image.

    path,label[,group][,split]

The first line names the columns, in any order, others beside them are not looked at; comma, semicolon or tab between
them. `path` is relative to the table's folder. Images of one `group` (a person, a patient) are kept together. `split`
is train, val (valid, validation) or test.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from classicnets.data.sources.given import PART_NAMES, Entry, Given, file_set, listed, name_of, too_few_classes
from classicnets.errors import BadImage, DataError

_NEEDED = ("path", "label")


def read_table(file: Path) -> Given:
    """What the table `file` names. Raises DataError, with the line's number, for a table that cannot be understood."""
    file = file.absolute()
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: this is not UTF-8 text. Save the table as CSV in UTF-8.") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}. Give a CSV file with the columns path,label.") from None
    delimiter = _delimiter(text.partition("\n")[0], file)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    entries: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
    lines: dict[str, int] = {}
    missing = []
    try:
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(f"{where}: there must be {len(reader.fieldnames)} columns, as in the first line.")
            values = {name: value.strip() for name, value in row.items()}
            for name in _NEEDED:
                if not values[name]:
                    raise DataError(f"{where}: the {name} is empty. Fill it in, or remove the line.")
            name = values["path"]
            if name in lines:
                raise DataError(f"{where}: {name} is in line {lines[name]} already. Remove one of the two lines.")
            lines[name] = reader.line_num
            part = PART_NAMES.get(values.get("split", "train").casefold())
            if part is None:
                raise DataError(f"{where}: the split is {values['split']!r}; it must be train, val or test.")
            path = file.parent / name
            if path.exists():
                entries[part].append(Entry(name, path, values["label"], values.get("group")))
            else:
                missing.append(BadImage(name, f"no such file (line {reader.line_num} of {file.name})"))
    except csv.Error as error:
        raise DataError(f"{file}, after line {reader.line_num}: {error}. Save the table anew as CSV.") from None
    if not lines:
        raise DataError(f"{file} names no images; it ends after its first line.")
    if not entries["train"]:
        reason = (
            f"not one of its {len(lines)} files exists, {missing[0]} the first"
            if missing
            else "no line has split train"
        )
        raise DataError(f"{file} has no training images: {reason}. Paths are relative to {file.parent}.")
    classes = tuple(sorted({entry.label for entry in entries["train"]}))
    problems = too_few_classes(classes)
    for part in ("val", "test"):
        unknown = sorted({entry.label for entry in entries[part]} - set(classes))
        if unknown:
            problems.append(f"the split {part} has labels that train lacks: {listed(unknown)}")
    sets = {
        part: file_set([entry for entry in some if entry.label in classes], classes)
        for part, some in entries.items()
        if some
    }
    return Given(
        name_of(file), str(file), sets["train"], sets.get("val"), sets.get("test"), tuple(problems), tuple(missing)
    )


def _delimiter(header: str, file: Path) -> str:
    for delimiter in ",;\t":
        columns = [name.strip().strip('"').casefold() for name in header.strip("\r").split(delimiter)]
        if all(name in columns for name in _NEEDED):
            twice = {name for name in columns if columns.count(name) > 1}
            if twice:
                raise DataError(f"{file}, line 1: the column {', '.join(sorted(twice))} is there twice. Rename one.")
            return delimiter
    raise DataError(
        f"{file}, line 1: the first line must name the columns, path and label among them "
        f"(path,label[,group][,split]), and is {header.strip()[:100]!r}."
    )
