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
from classicnets.system.locks import folder_aside, lock

_HOLDER = """
import sys, time
from classicnets.system.locks import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""

_WRITER = """
import sys, time
from pathlib import Path
from classicnets.system.locks import folder_aside
with folder_aside(Path(sys.argv[1])) as new:
    (new / "large").write_bytes(bytes(1000))
    print("at work", flush=True)
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


def test_a_folder_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "bundle") as new:
        (new / "file").write_text("whole")
        assert not (tmp_path / "bundle").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["file"]
    with pytest.raises(FileExistsError), folder_aside(tmp_path / "bundle"):
        pass


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    (tmp_path / ".bundle.0123abcd.aside" / "bundle").mkdir(parents=True)  # without a lock: of an earlier version
    (tmp_path / ".another.0123abcd.aside").mkdir()
    (tmp_path / ".another.0123abcd.aside" / "another.lock").touch()
    before = set(tmp_path.iterdir())
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "at work\n"
        (left,) = set(tmp_path.iterdir()) - before
        with pytest.raises(KeyError), folder_aside(path):
            raise KeyError
        assert (left / "bundle" / "large").is_file(), "it is still being written"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert left.is_dir()
    with folder_aside(path) as new:
        (new / "file").touch()
    assert set(tmp_path.iterdir()) == before | {path}


def test_without_locks_in_the_file_system_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".bundle.0123abcd.aside"
    left.mkdir()
    (left / "bundle.lock").touch()
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_aside(tmp_path / "bundle") as new:
        (new / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [left.name, "bundle"]
