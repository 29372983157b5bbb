"""Write files and folders completely or not at all. Everything that this package keeps is written here.

Windows differs from POSIX in four ways that matter here: FlushFileBuffers needs a handle that can write; folders cannot
be opened, and NTFS logs changes to them itself; a file or folder that another program has open cannot be renamed or
replaced, not even one that a virus scanner reads for a moment; a folder cannot replace another, even an empty one.
The code for Windows was written from Microsoft's documentation and is tested under a simulation. It has not been run
on Windows.
"""

from __future__ import annotations

import errno
import hashlib
import ntpath
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from classicnets.errors import ConfigError, StorageError

_WINDOWS = os.name == "nt"
_ASIDE = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.aside")
_RETRIES, _PAUSE = 40, 0.05  # two seconds
_LONG = 180  # characters of a folder; its files' names make it longer, and 260 is the limit of Windows


def check_new(path: Path) -> None:
    """Raise ConfigError if a file that the user named exists. Call it before the work that it is written for."""
    if path.exists():
        raise ConfigError(f"{path} exists, and files are never overwritten. Give another name, or remove the file.")


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file: 64 hexadecimal digits. The file is read in chunks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_aside(path: str | Path, *, replace: bool = True) -> Iterator[Path]:
    """Write the file or folder `path` so that a kill or a power cut leaves the old one or the new one, never a part.

    Yields a path in a hidden folder beside the target, to be written to. When the block ends, what was written there is
    flushed to the disk and renamed to `path`. When the block raises, `path` stays as it was. An old folder first moves
    aside, because a folder cannot be renamed over another; `recover` puts it back if the process dies at that moment.

    Args:
        path: what to write. Missing folders above it are created.
        replace: False keeps a folder that exists at `path` (an empty one counts as none). For folders.

    Raises:
        StorageError: the disk is full or read-only, or refuses the write for another reason.
        FileExistsError: `replace` is False and something is at `path`.

    Example:
        >>> with written_aside("notes.txt") as new:  # doctest: +SKIP
        ...     new.write_text("kept", "utf-8")
    """
    path = Path(path)
    aside = _within_limits(path.parent / f".{path.name}.{secrets.token_hex(4)}.aside")
    try:
        _make_folder(path.parent)
        aside.mkdir()
    except OSError as error:
        raise not_written(path, error) from error
    try:
        new = aside / path.name
        yield new
        for written in [*new.rglob("*"), new, aside] if new.is_dir() else [new]:
            _flush(written)
        if new.is_dir() and path.exists() and replace:
            _rename(path, aside / "old")
        _rename(new, path)
        _flush(path.parent)
    except OSError as error:
        if not replace and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(error.errno, error.strerror, str(path)) from None
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def asides_of(path: Path) -> list[Path]:
    """Return the hidden folders in which `written_aside` writes `path`, or has left it unfinished."""
    found = path.parent.glob(".*.aside")
    return [aside for aside in found if (match := _ASIDE.fullmatch(aside.name)) and match["name"] == path.name]


def recover(folder: Path) -> None:
    """Undo what a kill inside `written_aside` left in `folder`: put old folders back and remove unfinished ones.

    No other process may be writing to `folder`.
    """
    for aside in folder.glob(".*.aside"):
        if (match := _ASIDE.fullmatch(aside.name)) is None or not aside.is_dir():
            continue
        old, path = aside / "old", folder / match["name"]
        if old.exists() and not path.exists():
            _rename(old, path)
            _flush(folder)
        shutil.rmtree(aside, ignore_errors=True)


def not_written(path: Path, error: Exception) -> StorageError:
    """Return the error for a file or folder that cannot be written, with the reason."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return StorageError(f"Cannot write {path}: {reason}. Free some space, or choose another folder.")


def _make_folder(path: Path) -> None:
    """Create the folder and those above it, and flush each name to the disk."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _flush(path.parent)


def _flush(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to the disk."""
    is_folder = path.is_dir()
    if is_folder and _WINDOWS:
        return
    handle = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (is_folder and error.errno == errno.EINVAL):  # some network file systems flush no folders
            raise
    finally:
        os.close(handle)


def _rename(source: Path, target: Path) -> None:
    """Rename a file over another, or a folder to a name that is free or an empty folder's."""
    if not _WINDOWS:
        source.replace(target)
        return
    if not source.is_dir():
        _patiently(source.replace, target)
        return
    if target.is_dir():
        target.rmdir()  # raises OSError (ENOTEMPTY) unless it is empty
    _patiently(source.rename, target)  # unlike `replace`, this raises FileExistsError if a file is there


def _patiently(rename: Callable[[Path], object], target: Path) -> None:
    """Rename on Windows: try again for two seconds while another program has the file open."""
    for _ in range(_RETRIES):
        try:
            rename(target)
        except PermissionError:
            time.sleep(_PAUSE)
        else:
            return
    rename(target)


def _within_limits(path: Path) -> Path:
    """Return a long path of Windows in the form that has no limit of 260 characters; any other path as it is."""
    if not _WINDOWS or len(os.path.abspath(path)) <= _LONG:
        return path
    return Path(extended(os.path.abspath(path)))


def extended(path: str) -> str:
    r"""Return an absolute Windows path in extended-length form: `C:\a` as `\\?\C:\a`, `\\x\a` as `\\?\UNC\x\a`."""
    path = ntpath.normpath(path)
    if path.startswith("\\\\?\\"):
        return path
    if path.startswith("\\\\"):
        return "\\\\?\\UNC\\" + path[2:]
    return "\\\\?\\" + path
