"""`classicnets audit shortcuts` and `audit curve`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifiers import tiny_classifier
from photos import PHOTO_CLASSES, encode, make_photo


@pytest.fixture
def folder(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos whose JPEG quality tells the class."""
    monkeypatch.chdir(tmp_path)
    for kind, quality in zip(PHOTO_CLASSES, (60, 75, 90), strict=True):
        for i in range(12):
            (photo_folder / kind / f"{i:03}.jpg").write_bytes(encode(make_photo(kind, i), quality=quality))
    return photo_folder


def test_a_warning_names_the_shortcut_and_the_exit_code_is_0(run_cli, folder: Path) -> None:
    answer = run_cli("audit", "shortcuts", folder, "--out", "audit")
    assert answer.code == 0
    assert "warning: JPEG quality alone tells the class for 100 % of the images (chance 33.3 %)" in answer.out
    assert "Save all images again" in answer.out
    assert "page: audit/shortcuts.html" in answer.out
    again = run_cli("audit", "shortcuts", folder, "--out", "audit")
    assert again.code == 2
    assert "audit exists" in again.err
    found = json.loads(run_cli("audit", "shortcuts", folder, "--json").out)
    assert "JPEG quality" in found["shortcuts"]
    assert found["page"] is None
    assert found["clues"][0].keys() >= {"clue", "verdict", "balanced_accuracy", "chance", "p_value_corrected"}


def test_a_curve(run_cli, folder: Path) -> None:
    model = tiny_classifier(PHOTO_CLASSES, channels=3).save(Path("model"))
    answer = run_cli("audit", "curve", folder, "--weights", model, "--out", "audit")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("photos: 36 images, heads on the features of ")
    assert "all classes" in answer.out
    assert "page: audit/curve.html" in answer.out
    found = json.loads(run_cli("audit", "curve", folder, "--run", model, "--json").out)
    assert found["num_images"] == 36
    assert len(found["overall"]["points"]) == 6


@pytest.mark.parametrize("command", ["shortcuts", "curve"])
def test_a_place_that_does_not_exist_is_one_line_and_three(run_cli, tmp_path: Path, command: str) -> None:
    answer = run_cli("audit", command, tmp_path / "nowhere")
    assert answer.code == 3
    assert answer.err.startswith("error: There is no folder or file at ")
    assert answer.err.count("\n") == 1
