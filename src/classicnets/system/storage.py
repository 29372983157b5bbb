"""Files and folders that are written whole or not at all: all that this package wants to keep goes through here."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classicnets.errors import StorageError

_ASIDE = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.aside")


@contextmanager
def written_aside(path: str | Path, *, replace: bool = True) -> Iterator[Path]:
    """A place to write `path`, a file or a folder: a kill or a power cut leaves the old or the new, never a part.

    Yields a path in a hidden folder beside the target. When the block ends, what was written there is flushed to the
    disk and renamed to `path`, in place of what was there; when it raises, that is removed and `path` is as it was.
    A folder cannot be renamed over another: the old one moves aside first, and `mend` puts it back if we die there.
    Raises StorageError when the disk is full, read-only or otherwise refuses; FileExistsError where something is at
    `path` already (an empty folder is nothing) and `replace` is False, for folders.
    """
    path = Path(path)
    try:
        _make_folder(path.parent)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".aside", dir=path.parent))
    except OSError as error:
        raise not_written(path, error) from error
    try:
        new = aside / path.name
        yield new
        for written in [*new.rglob("*"), new, aside] if new.is_dir() else [new]:
            _flush(written)
        if new.is_dir() and path.exists() and replace:
            path.rename(aside / "old")
        new.replace(path)
        _flush(path.parent)
    except OSError as error:
        if not replace and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(error.errno, error.strerror, str(path)) from None
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def mend(folder: Path) -> None:
    """Undo what a kill in `written_aside` left in `folder`: put back what had moved away, remove the unfinished.

    For a folder that nobody else is writing to.
    """
    for aside in folder.glob(".*.aside"):
        if (match := _ASIDE.fullmatch(aside.name)) is None or not aside.is_dir():
            continue
        old, path = aside / "old", folder / match["name"]
        if old.exists() and not path.exists():
            old.rename(path)
            _flush(folder)
        shutil.rmtree(aside, ignore_errors=True)


def not_written(path: Path, error: Exception) -> StorageError:
    """The error for a file or folder that cannot be written, and why."""
    reason = error.strerror if isinstance(error, OSError) else error
    return StorageError(f"Cannot write {path}: {reason}. Free some space, or choose another folder.")


def _make_folder(path: Path) -> None:
    """Make the folder and those above it, each one's name flushed to the disk."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _flush(path.parent)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders, and keeps their order itself
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
