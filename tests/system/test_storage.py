"""What is written is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from classicnets.errors import StorageError
from classicnets.system import storage
from classicnets.system.storage import recover, written_aside


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("old")

    def write_half() -> None:
        with written_aside(tmp_path / "kept") as new:
            new.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with written_aside(tmp_path / "deep" / "model") as new:
            (new / "sub").mkdir(parents=True)
            (new / content).write_text(content)
    assert sorted(os.listdir(tmp_path / "deep" / "model")) == ["second", "sub"]
    assert os.listdir(tmp_path / "deep") == ["model"]


def test_repair_puts_back_a_folder_that_a_kill_left_moved_aside(tmp_path: Path) -> None:
    aside = tmp_path / ".model.ab12_x9z.aside"
    for name, text in (("old", "old"), ("model", "new")):
        (aside / name).mkdir(parents=True)
        (aside / name / "weights").write_text(text)
    recover(tmp_path)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_repair_removes_what_is_unfinished_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in (".model.ab12_x9z.aside/old", ".mine.aside", ".model.ab12_x9z"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".notes.ab12_x9z.aside").write_text("a file")
    recover(tmp_path)
    recover(tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".mine.aside", ".model.ab12_x9z", ".notes.ab12_x9z.aside", "model",
    ]  # fmt: skip


def test_a_folder_that_is_not_to_be_replaced(tmp_path: Path) -> None:
    for name in ("taken", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "taken" / "file").write_text("theirs")
    (tmp_path / "file").write_text("theirs")
    for name in ("taken", "file", "empty", "free"):
        try:
            with written_aside(tmp_path / name, replace=False) as new:
                new.mkdir()
                (new / "file").write_text("ours")
        except FileExistsError:
            assert name in ("taken", "file")
    assert [(tmp_path / name / "file").read_text() for name in ("taken", "empty", "free")] == ["theirs", "ours", "ours"]
    assert (tmp_path / "file").read_text() == "theirs"
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Windows, as its documentation describes it. Maps each path that another program has open to failing attempts."""
    busy: dict[Path, int] = {}
    opened: dict[int, int] = {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "rename", "replace")}

    def open_(path: object, flags: int, mode: int = 0o777, **more: object) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        handle = real["open"](path, flags, mode, **more)
        opened[handle] = flags
        return handle

    def fsync(handle: int) -> None:
        if opened[handle] & (os.O_RDWR | os.O_WRONLY) == 0:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real["fsync"](handle)

    def check(*paths: Path) -> None:
        for path in map(Path, paths):
            if busy.get(path, 0):
                busy[path] -= 1
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))

    def rename(source: Path, target: Path) -> None:
        check(source, target)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "File exists", str(target))
        real["rename"](source, target)

    def replace(source: Path, target: Path) -> None:
        check(source, target)
        if os.path.isdir(target):
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        real["replace"](source, target)

    monkeypatch.setattr(storage, "_WINDOWS", True)
    monkeypatch.setattr(storage, "_PAUSE", 0)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    for name, function in (("open", open_), ("fsync", fsync), ("rename", rename), ("replace", replace)):
        monkeypatch.setattr(os, name, function)
    return busy


def test_the_simulation_refuses_what_windows_refuses(tmp_path: Path, windows: dict[Path, int]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PermissionError):
        os.open(tmp_path, os.O_RDONLY)
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fsync(handle)
    os.close(handle)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    with pytest.raises(PermissionError):
        (tmp_path / "folder").replace(tmp_path / "empty")


def test_windows_writes_files_and_replaces_folders(tmp_path: Path, windows: dict[Path, int]) -> None:
    for content in ("first", "second"):
        with written_aside(tmp_path / "deep" / "file") as new:
            new.write_text(content)
        with written_aside(tmp_path / "deep" / "model") as new:
            (new / "sub").mkdir(parents=True)
            (new / content).write_text(content)
    assert (tmp_path / "deep" / "file").read_text() == "second"
    assert sorted(os.listdir(tmp_path / "deep")) == ["file", "model"]
    assert sorted(os.listdir(tmp_path / "deep" / "model")) == ["second", "sub"]


def test_windows_keeps_what_is_not_to_be_replaced(tmp_path: Path, windows: dict[Path, int]) -> None:
    test_a_folder_that_is_not_to_be_replaced(tmp_path)


def test_windows_puts_back_a_folder(tmp_path: Path, windows: dict[Path, int]) -> None:
    test_repair_puts_back_a_folder_that_a_kill_left_moved_aside(tmp_path)


def test_windows_waits_for_a_reader_and_then_gives_up(tmp_path: Path, windows: dict[Path, int]) -> None:
    (tmp_path / "file").write_text("old")
    windows[tmp_path / "file"] = 3
    with written_aside(tmp_path / "file") as new:
        new.write_text("new")
    assert (tmp_path / "file").read_text() == "new"
    windows[tmp_path / "file"] = 10_000
    with pytest.raises(StorageError, match="cannot access the file"), written_aside(tmp_path / "file") as new:
        new.write_text("newer")
    assert (tmp_path / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("path", "long"),
    [
        ("C:\\runs\\a", "\\\\?\\C:\\runs\\a"),
        ("C:/runs/./a", "\\\\?\\C:\\runs\\a"),
        ("\\\\host\\share\\a", "\\\\?\\UNC\\host\\share\\a"),
        ("\\\\?\\C:\\runs", "\\\\?\\C:\\runs"),
    ],
)
def test_the_long_form_of_windows_paths(path: str, long: str) -> None:
    assert storage.extended(path) == long


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with written_aside(tmp_path / "file") as new:
        new.write_text("kept")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_new_folder_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with written_aside(tmp_path / "model") as new:
        new.mkdir()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "usual").stat().st_mode
