"""What is written is there whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from classicnets.system.storage import mend, written_aside


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


def test_mend_puts_back_a_folder_that_a_kill_left_moved_aside(tmp_path: Path) -> None:
    aside = tmp_path / ".model.ab12_x9z.aside"
    for name, text in (("old", "old"), ("model", "new")):
        (aside / name).mkdir(parents=True)
        (aside / name / "weights").write_text(text)
    mend(tmp_path)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_mend_removes_what_is_unfinished_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in (".model.ab12_x9z.aside/old", ".mine.aside", ".model.ab12_x9z"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".notes.ab12_x9z.aside").write_text("a file")
    mend(tmp_path)
    mend(tmp_path / "none")
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
