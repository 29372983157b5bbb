"""Locks between processes, held by the operating system."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from classicnets.errors import Locked
from classicnets.system.storage import not_written

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}  # flock(2), fcntl(2)


@contextmanager
def lock(path: str | Path) -> Iterator[None]:
    """Hold the lock file `path` inside the block. Does not wait.

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
        yield
    finally:
        held.release()  # does nothing if there is no lock


def _has_no_locks(error: NotImplementedError | OSError) -> bool:
    """Whether the file system refuses every lock, rather than this one."""
    return isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS
