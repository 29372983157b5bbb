"""List the image files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from classicnets.errors import DataError

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2",
})  # fmt: skip


def find_images(path: str | Path) -> list[Path]:
    """Return every image file under a folder, sorted. The suffix decides what is an image.

    Hidden files and folders are left out. Links are followed, except to a folder that contains `path`. Each folder is
    entered once, so loops end.

    Args:
        path: a folder, or a file, which is returned whatever its suffix.

    Raises DataError if nothing is at `path` or a folder cannot be listed.

    >>> find_images("photos")  # doctest: +SKIP
    [PosixPath('photos/cat.jpg'), PosixPath('photos/more/dog.png')]
    """
    path = Path(path)
    return [file for file in find_files(path) if is_image(file)] if path.is_dir() else find_files(path)


def find_files(path: Path) -> list[Path]:
    """Return the files at `path`, with any suffix: the file itself, or all files below a folder that are not hidden.

    Raises DataError if there is nothing at `path`, or a folder cannot be read.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"There is nothing at {path}. Check the spelling; paths are relative to {Path.cwd()}.")
        return [path]

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}. Make the folder readable.")

    found: list[Path] = []
    seen = {_identity(folder) for folder in path.resolve().parents}  # a link upwards would bring in other folders
    for folder, inner, files in os.walk(path, followlinks=True, onerror=refuse):
        if _identity(folder) in seen:
            inner.clear()
            continue
        seen.add(_identity(folder))
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        found += [Path(folder, name) for name in files if not is_hidden(name)]
    return sorted(found)


def is_image(path: Path) -> bool:
    """Return whether the suffix of `path` is that of an image file."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Return whether a file or folder called `name` never holds data.

    >>> is_hidden(".git"), is_hidden("__MACOSX"), is_hidden("cats")
    (True, True, False)
    """
    return name.startswith(".") or name == "__MACOSX"


def _identity(folder: str | Path) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino
