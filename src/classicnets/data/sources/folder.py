"""`folder:PATH`: images in folders named after their class.

    PATH/train/CLASS/*  PATH/val/CLASS/*  [PATH/test/CLASS/*]      split by the user; `valid` or `validation` will do
    PATH/CLASS/*                                                   split by `load_data`

Images may lie in further folders inside a class. Hidden files, and files without an image's suffix, are no part of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from classicnets.data.sources.given import PART_NAMES, Entry, Given, file_set, listed, name_of, problem, too_few_classes
from classicnets.errors import DataError
from classicnets.images import find_files, is_hidden, is_image

_LAYOUTS = "It must hold train/CLASS/*.jpg and val/CLASS/*.jpg (and maybe test/), or CLASS/*.jpg alone."


def read_folder(path: Path) -> Given:
    """What the folder at `path` holds. Raises DataError where no labelled image can be found in it."""
    path = path.absolute()
    if not path.is_dir():
        raise DataError(f"There is no folder at {path}. Check the spelling.")
    parts = _part_folders(path) or {"train": path}
    files = {part: {inner.name: find_files(inner) for inner in _folders_in(folder)} for part, folder in parts.items()}
    ignored = _other_kinds(file for folders in files.values() for some in folders.values() for file in some)
    entries = {
        part: {
            name: [Entry(_readable(file.relative_to(path).as_posix()), file, name) for file in some if is_image(file)]
            for name, some in folders.items()
        }
        for part, folders in files.items()
    }
    if not any(some for folders in entries.values() for some in folders.values()):
        others = f" Files of another kind: {', '.join(ignored)}." if ignored else ""
        raise DataError(f"There are no images in class folders in {path}. {_LAYOUTS}{others}")
    classes = tuple(entries["train"])
    if not classes:
        raise DataError(f"There are no class folders in {parts['train']}. {_LAYOUTS}")
    problems = too_few_classes(classes)
    empty = [name for name, some in entries["train"].items() if not some]
    problems += [f"no images in the class folder {listed(empty)}"] if empty else []
    for folder in parts.values():
        problems += problem(f"images in no class folder, but in {folder} itself", _images_in(folder))
    for part, folders in entries.items():
        problems += _different(classes, tuple(folders), f"{parts['train'].name}/", f"{parts[part].name}/")
    sets = {
        part: file_set([entry for name in classes for entry in folders.get(name, [])], classes)
        for part, folders in entries.items()
    }
    return Given(
        name_of(path), str(path), sets["train"], sets.get("val"), sets.get("test"), tuple(problems), ignored=ignored
    )


def _part_folders(path: Path) -> dict[str, Path] | None:
    """The folders of a user's own split by our names for them, or None where the folders here are classes."""
    folders = _folders_in(path)
    named = [folder for folder in folders if folder.name.casefold() in PART_NAMES]
    train = next((folder for folder in named if folder.name.casefold() == "train"), None)
    if len(named) < len(folders) and (train is None or _images_in(train) or not _folders_in(train)):
        return None  # "train" may well be a class, beside "bus" and "plane"
    if not named:
        return None
    parts: dict[str, Path] = {}
    for folder in named:
        part = PART_NAMES[folder.name.casefold()]
        if part in parts:
            raise DataError(f"{path} holds both {parts[part].name}/ and {folder.name}/. Leave one of them.")
        parts[part] = folder
    if train is None:
        raise DataError(f"{path} holds {', '.join(f.name + '/' for f in named)} but no train/. {_LAYOUTS}")
    return {"train": train, **parts}


def _other_kinds(files: Iterable[Path]) -> tuple[str, ...]:
    """How many files are no images, by suffix, the most frequent first: ("12 .heic", "1 .txt")."""
    suffixes = Counter(file.suffix.lower() or "without a suffix" for file in files if not is_image(file))
    return tuple(f"{count:,} {suffix}" for suffix, count in suffixes.most_common())


def _different(train: tuple[str, ...], other: tuple[str, ...], train_name: str, other_name: str) -> list[str]:
    return [
        *problem(f"{other_name} has classes that {train_name} lacks", [name for name in other if name not in train]),
        *problem(f"{other_name} lacks classes that {train_name} has", [name for name in train if name not in other]),
    ]


def _folders_in(path: Path) -> list[Path]:
    return sorted(inner for inner in _listing(path) if not is_hidden(inner.name) and inner.is_dir())


def _images_in(path: Path) -> list[str]:
    return sorted(
        file.name for file in _listing(path) if is_image(file) and not is_hidden(file.name) and not file.is_dir()
    )


def _listing(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Make the folder readable.") from None


def _readable(name: str) -> str:
    """A file's name as valid Unicode, whatever bytes the disk has."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
