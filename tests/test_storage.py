"""What is written is there whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from classicnets.storage import written_aside


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
