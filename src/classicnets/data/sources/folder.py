"""`folder:PATH`: images in folders named after their class.

    PATH/train/CLASS/*  PATH/val/CLASS/*  [PATH/test/CLASS/*]      split by the user
    PATH/CLASS/*                                                   split by `load_data`

The folders of a split may have any usual name: Training, valid, dev, "Test set", or seg_train beside seg_test. Images
may lie in folders inside a class. Hidden files, and files without the suffix of an image, are ignored.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from classicnets.data.sources.given import Entry, Given, given_files
from classicnets.data.sources.part_names import names_by_part, part_name, plain_part, same_meaning, same_words
from classicnets.data.words import counted, listed, problem
from classicnets.errors import DataError
from classicnets.images import find_files, is_hidden, is_image

_LAYOUTS = "It must hold train/CLASS/*.jpg and val/CLASS/*.jpg (and maybe test/), or CLASS/*.jpg alone."
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def read_folder(path: Path) -> Given:
    """Read what the folder at `path` holds. Raises DataError if it has no image in a class folder."""
    path = path.absolute()
    if not path.is_dir():
        raise DataError(f"There is no folder at {path}. Check the spelling.")
    root = _innermost(path, same_words)
    problems: list[str] = []
    notes: list[str] = []
    if root != path:
        notes.append(f"read the images in {root.relative_to(path.parent).as_posix()}/")
    parts = _part_folders(root)
    if parts:
        notes += _reading(root, parts)
        if "test" in parts and _is_unlabelled(parts["test"]):
            test = parts.pop("test").relative_to(root).as_posix()
            notes.append(f"{test}/ has images but no class folders: they have no labels, so {test}/ is left out")
    else:
        parts = {"train": root}
        problems += _wrapped(root)
        shared = _shared_folders(root)
        if shared:
            problems += _misplaced_parts(root, shared)
        if shared and not problems:
            notes.append(_read_as_classes(root, shared))
    files = {part: {inner.name: find_files(inner) for inner in _folders_in(folder)} for part, folder in parts.items()}
    ignored = _other_kinds(file for folders in files.values() for some in folders.values() for file in some)
    images = {
        part: {name: [file for file in some if is_image(file)] for name, some in folders.items()}
        for part, folders in files.items()
    }
    if not any(some for folders in images.values() for some in folders.values()) or not images["train"]:
        raise DataError(_no_images(path, parts["train"], ignored))
    empty = [name for name, some in images["train"].items() if not some]
    if empty:
        problems.append(f"no images in the class folder {listed(empty)}")
    for folder in parts.values():
        problems += problem(f"images without a label, in {folder} but in no class folder", _images_in(folder))
    entries = {part: _entries(path, folders) for part, folders in images.items()}
    classes = {part: tuple(folders) for part, folders in images.items()}
    return given_files(path, entries, classes, problems=problems, notes=notes, ignored=ignored)


def _entries(root: Path, folders: Mapping[str, list[Path]]) -> list[Entry]:
    """The images of each class folder, in order, called by their path below `root`."""
    return [
        Entry(_readable(file.relative_to(root).as_posix()), file, name)
        for name, files in folders.items()
        for file in files
    ]


# ---- which folders are parts


def _part_folders(root: Path) -> dict[str, Path] | None:
    """The folders of a user's own split, by part; None if the folders in `root` are classes."""
    folders = {folder.name: folder for folder in _folders_in(root)}
    names = names_by_part(folders)
    named = [name for some in names.values() for name in some]
    if not named:
        return None
    train = names.get("train")
    are_all = len(named) == len(folders) and all(map(plain_part, named))
    if not are_all and not (train and _holds_classes(folders[train[0]])):
        return None  # "train" may be a class, beside "bus" and "plane", and so may "training dog" beside "test dog"
    for some in names.values():
        if len(some) > 1:
            both = " and ".join(f"{name}/" for name in some)
            raise DataError(f"{root} holds {both}, which mean the same part. Keep one of them, or rename one.")
    if not train:
        raise DataError(f"{root} holds {', '.join(f'{name}/' for name in named)} but no train/. {_LAYOUTS}")
    return {
        part: _innermost(folders[names[part][0]], same_meaning) for part in ("train", "val", "test") if part in names
    }


def _reading(root: Path, parts: Mapping[str, Path]) -> list[str]:
    """Which folder is read as which part, unless it is called so, and what beside them is not used."""
    places = {part: folder.relative_to(root).as_posix() for part, folder in parts.items()}
    renamed = [f"{place}/ as {part}" for part, place in places.items() if place != part]
    notes = [f"read {', '.join(renamed)}"] if renamed else []
    used = {place.split("/")[0] for place in places.values()}
    others = [f"{folder.name}/" for folder in _folders_in(root) if folder.name not in used]
    if others:
        notes.append(f"left out, because the names do not mean train, val or test: {', '.join(others)}")
    loose = len(_images_in(root))
    if loose:
        notes.append(f"left out {counted(loose, 'image')} in {root} itself, beside the folders of the parts")
    return notes


def _innermost(folder: Path, same: Callable[[str, str], bool]) -> Path:
    """`folder`, or the folder in it if it holds nothing else and both names are the `same`: seg_train/seg_train."""
    inside = _folders_in(folder)
    if len(inside) != 1 or _images_in(folder) or not same(folder.name, inside[0].name):
        return folder
    return _innermost(inside[0], same)


def _holds_classes(folder: Path) -> bool:
    return bool(_folders_in(folder)) and not _images_in(folder)


def _is_unlabelled(folder: Path) -> bool:
    return bool(_images_in(folder)) and not _folders_in(folder)


# ---- folders that are read as classes, and may not be meant so


def _wrapped(root: Path) -> list[str]:
    """The problem of a single folder that holds the class folders, or the parts."""
    inside = _folders_in(root)
    inner = root
    while len(inside) == 1 and not _images_in(inner):
        inner = inside[0]
        inside = _folders_in(inner)
    if inner == root or len(inside) < 2 or _images_in(inner):
        return []
    return [f"the classes of {root} seem to be one level down: give {inner}"]


def _shared_folders(root: Path) -> list[str]:
    """The names of two or more folders that all folders in `root` hold; empty if any of these holds images itself."""
    folders = _folders_in(root)
    if len(folders) < 2:
        return []
    shared: set[str] = set()
    for number, folder in enumerate(folders):
        names = {inner.name for inner in _folders_in(folder)}
        shared = shared & names if number else names
        if len(shared) < 2 or _images_in(folder):
            return []
    return sorted(shared)


def _misplaced_parts(root: Path, shared: list[str]) -> list[str]:
    """The problem of parts with names that are not read as parts, or of parts inside the class folders."""
    if len(names_by_part(shared)) > 1:
        return [f"every class folder holds {listed(shared)}; put the parts above the classes: train/CLASS/*.jpg"]
    parts = [folder.name for folder in _folders_in(root) if part_name(folder.name)]
    if not parts:
        return []
    return [f"{listed(parts)} would be classes, but each folder holds {listed(shared)}. Name parts train, val and test"]


def _read_as_classes(root: Path, shared: list[str]) -> str:
    """The note on class folders that hold the same folders: they may be parts by another name."""
    classes = listed([folder.name for folder in _folders_in(root)])
    return (
        f"read {classes} as the classes. Each holds the folders {listed(shared)}: if those are the classes, name the "
        f"parts train, val and test"
    )


# ---- files


def archive_hint(name: str) -> str:
    """What to do with a file of this name, if it is an archive."""
    return "Unpack it, then give the folder." if name.casefold().endswith(_ARCHIVES) else ""


def _no_images(path: Path, train: Path, ignored: tuple[str, ...]) -> str:
    """The message that no image is in a class folder, with what is there instead."""
    sentences = [f"There are no images in class folders in {path}."]
    loose = _images_in(train)
    if loose:
        sentences.append(f"{train} has {counted(len(loose), 'image')} but no class folders: they have no labels.")
    sentences.append(_LAYOUTS)
    if ignored:
        sentences.append(f"Files of another kind: {', '.join(ignored)}.")
    archives = sorted(file.name for file in _listing(path) if archive_hint(file.name))
    if archives:
        sentences.append(f"{archives[0]} is an archive. {archive_hint(archives[0])}")
    return " ".join(sentences)


def _other_kinds(files: Iterable[Path]) -> tuple[str, ...]:
    """How many files are not images, by suffix, the most frequent first: ("12 .heic", "1 .txt")."""
    suffixes = Counter(file.suffix.lower() or "without a suffix" for file in files if not is_image(file))
    return tuple(f"{count:,} {suffix}" for suffix, count in suffixes.most_common())


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
