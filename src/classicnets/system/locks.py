"""Locks between processes, held by the operating system."""

from __future__ import annotations

import errno
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from classicnets.errors import Locked, StorageError
from classicnets.system.storage import asides_of, not_written, written_aside

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}  # flock(2), fcntl(2)


@contextmanager
def lock(path: str | Path) -> Iterator[bool]:
    """Hold the lock file `path` inside the block. Does not wait. Yields whether it is held.

    The operating system holds the lock and releases it when the process ends, in whatever way it ends. The lock also
    keeps out other threads and other holders in the same process. The file stays; it holds nothing.

    Some file systems have no such locks (some network disks). On them the block runs without a lock. filelock would use
    the existence of the file instead, but such a lock outlives a killed process.

    Windows: filelock uses LockFileEx there. This was written from its documentation and has not been run on Windows.

    Raises:
        Locked: another holder has the lock.
        StorageError: the lock file cannot be written.

    Example:
        >>> with lock("run/.lock"):  # doctest: +SKIP
        ...     write()
    """
    held = FileLock(path, timeout=0, thread_local=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flock not supported")
            held.acquire()
    except Timeout:
        if not isinstance(held, SoftFileLock):
            raise Locked(f"{path} is locked by another process. Let it finish, or stop it first.") from None
    except (NotImplementedError, OSError) as error:
        if not _has_no_locks(error):
            raise not_written(Path(path), error) from error
    if isinstance(held, SoftFileLock):
        held.release(force=True)
    try:
        yield held.is_locked
    finally:
        held.release()  # does nothing if there is no lock


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Write the new folder `path` with `written_aside`, after removing what killed processes left of writing it.

    The hidden folder of a process that is still at work stays: the process holds a lock in it. On a file system without
    locks nobody can tell, and all of them stay.

    Yields the folder to fill, which exists. Raises what `written_aside` raises; FileExistsError if `path` exists.

    Example:
        >>> with folder_aside(Path("bundle")) as new:  # doctest: +SKIP
        ...     (new / "labels.txt").write_text("cat", "utf-8")
    """
    for left in asides_of(path):
        at_work = _lock_in(left, path)
        if at_work.is_file():  # it was written by this function, and not begun just now
            with suppress(Locked, StorageError), lock(at_work) as is_held:
                if is_held:
                    shutil.rmtree(left, ignore_errors=True)
    with written_aside(path, replace=False) as new, lock(_lock_in(new.parent, path)):
        new.mkdir()
        yield new


def _lock_in(aside: Path, path: Path) -> Path:
    """The lock file of the hidden folder that `path` is written in. Nothing that is written there has its name."""
    return aside / f"{path.name}.lock"


def _has_no_locks(error: NotImplementedError | OSError) -> bool:
    """Whether the file system refuses every lock, rather than this one."""
    return isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS
