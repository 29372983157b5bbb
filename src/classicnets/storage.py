"""Files and folders that are written whole or not at all: all that this package wants to keep goes through here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classicnets.errors import StorageError


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """A place to write `path`, a file or a folder: a power cut leaves the old one or the new one, never a part.

    Yields a path in a hidden folder beside the target. When the block ends, what was written there is flushed to the
    disk and renamed to `path`, in place of what was there; when it raises, that is removed and `path` is as it was.
    Raises StorageError when the disk is full, read-only or otherwise refuses.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise not_written(path, error) from error
    try:
        new = aside / path.name
        yield new
        for written in [*new.rglob("*"), new] if new.is_dir() else [new]:
            _flush(written)
        if new.is_dir() and path.exists():
            path.rename(aside / "old")
        new.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def not_written(path: Path, error: Exception) -> StorageError:
    """The error for a file or folder that cannot be written, and why."""
    reason = error.strerror if isinstance(error, OSError) else error
    return StorageError(f"Cannot write {path}: {reason}. Free some space, or choose another folder.")


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders, and keeps their order itself
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
