"""`classicnets check`, as a user calls it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from classicnets.cli.main import app
from photos import write_photos


def test_a_good_folder(photo_folder: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(photo_folder)])
    assert result.exit_code == 0, result.output
    assert "photos: 36 images, 3 classes" in result.stdout
    assert "48x40 (36)" in result.stdout
    assert "warning: fewer than 20 training images of 'disc', 'square', 'stripes'" in result.stdout
    assert result.stdout.rstrip().endswith("Warnings only: nothing has to be fixed.")


def test_problems_are_listed_and_end_with_three(photo_folder: Path) -> None:
    (photo_folder / "disc/001.jpg").write_text("text")
    shutil.copy(photo_folder / "disc/003.jpg", photo_folder / "square/copy.jpg")
    result = CliRunner().invoke(app, ["check", str(photo_folder)])
    assert result.exit_code == 3
    assert "Cannot be read: 1\n  disc/001.jpg: this is not an image" in result.stdout
    assert "The same, byte for byte: 1\n  disc/003.jpg (" in result.stdout
    assert result.stdout.count("problem: ") == 2
    assert "All is well" not in result.stdout
    assert result.stdout.rstrip().endswith("2 problems must be fixed.")


def test_long_lists_are_cut(tmp_path: Path) -> None:
    write_photos(tmp_path, 30)
    for path in sorted((tmp_path / "disc").iterdir())[:25]:
        path.write_bytes(b"")
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.stdout.count("the file is empty") == 21, "20 in the list, one in the problem"
    assert "and 5 more; --json lists all" in result.stdout


@pytest.mark.parametrize("bad", [False, True])
def test_json(photo_folder: Path, bad: bool) -> None:
    if bad:
        (photo_folder / "disc/001.jpg").write_text("text")
    result = CliRunner().invoke(app, ["check", str(photo_folder), "--json"])
    assert result.exit_code == (3 if bad else 0)
    answer = json.loads(result.stdout)
    assert answer["ok"] is not bad
    assert answer["num_images"] == 36 - bad


def test_the_seed_is_the_splits(photo_folder: Path) -> None:
    answers = [
        json.loads(CliRunner().invoke(app, ["check", str(photo_folder), "--json", "--seed", seed]).stdout)
        for seed in ("0", "5")
    ]
    assert [answer["split"][-6:] for answer in answers] == ["seed 0", "seed 5"]


def test_a_place_that_does_not_exist_is_one_line_and_three(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    answer = run_cli("check", tmp_path / "nowhere")
    assert answer.code == 3
    assert answer.out == ""
    assert answer.err.startswith(f"error: There is no folder or file at {tmp_path}/nowhere, and no data set of that")
    assert answer.err.count("\n") == 1


def test_class_names_are_printed_as_they_are(photo_folder: Path) -> None:
    (photo_folder / "disc").rename(photo_folder / "[bold]犬 & co")
    result = CliRunner().invoke(app, ["check", str(photo_folder)])
    assert "[bold]犬 & co" in result.stdout


def test_how_the_data_was_read_stands_before_the_numbers(tmp_path: Path) -> None:
    write_photos(tmp_path / "Training", 20)
    write_photos(tmp_path / "Testing", 5, first_seed=100)
    (tmp_path / "notes").mkdir()
    (tmp_path / "Training/disc/a.heic").touch()
    (tmp_path / "Training/square").rename(tmp_path / "Training/DISC")
    (tmp_path / "Testing/square").rename(tmp_path / "Testing/DISC")
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    notes = [
        "read Training/ as train, Testing/ as test",
        "left out, because the names do not mean train, val or test: notes/",
    ]
    lines = result.stdout.splitlines()
    assert lines[2:4] == [f"note: {note}" for note in notes]
    assert lines[4].startswith("warning: classes that differ only in case, spaces")
    assert lines[-1] == "Warnings only: nothing has to be fixed."
    assert json.loads(CliRunner().invoke(app, ["check", str(tmp_path), "--json"]).stdout)["notes"] == notes
