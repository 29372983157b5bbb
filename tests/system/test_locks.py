"""A lock keeps every other holder out, ends with its process, and is not there on file systems without locks."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from classicnets.errors import ConfigError, Locked, StorageError
from classicnets.system.locks import lock

_HOLDER = """
import sys, time
from classicnets.system.locks import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_fails_at_once_until_the_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=r"\.lock is locked by another process"), lock(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lock(path):
            pass


def test_a_second_holder_in_the_same_process_is_kept_out(tmp_path: Path) -> None:
    with lock(tmp_path / ".lock"):
        with pytest.raises(ConfigError), lock(tmp_path / ".lock"):
            pass
        with lock(tmp_path / "another"):
            pass
    with lock(tmp_path / ".lock"):
        pass


def test_it_ends_when_the_block_raises(tmp_path: Path) -> None:
    def fail() -> None:
        with lock(tmp_path / ".lock"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with lock(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_in_the_file_system_nothing_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = []
    with lock(tmp_path / ".lock"), lock(tmp_path / ".lock"):
        ran.append(True)
    assert ran


def test_a_marker_that_a_killed_process_left_keeps_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def left_behind(self: filelock.FileLock) -> None:
        self.__class__ = filelock.SoftFileLock
        raise filelock.Timeout(str(self.lock_file))

    monkeypatch.setattr(filelock.FileLock, "acquire", left_behind)
    ran = []
    with lock(tmp_path / ".lock"):
        ran.append(True)
    assert ran


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Cannot write .*file/\.lock"), lock(tmp_path / "file" / ".lock"):
        pass
