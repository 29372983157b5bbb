"""`classicnets look`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from classifiers import tiny_classifier
from photos import PHOTO_CLASSES

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def run(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder as a training on `photo_folder` leaves it, with a model that learned nothing."""
    monkeypatch.chdir(tmp_path)
    record = {
        "source": str(photo_folder), "split_seed": 0, "val_fraction": 0.25, "test_fraction": 0.25, "on_error": "fail",
    }  # fmt: skip
    tiny_classifier(PHOTO_CLASSES, channels=3, provenance={"data": record}).save(tmp_path / "run" / "model")
    return tmp_path / "run"


def test_a_page_and_its_numbers(run_cli, run: Path) -> None:
    answer = run_cli("look", run, "--units", "2", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["page"] == "look.html"
    assert found["images"] == {"data": "photos test", "seen": 9, "of": 9}
    assert [stage["stage"] for stage in found["units"]] == ["conv1", "conv2", "conv3", "conv4"]
    for stage in found["units"]:
        assert len(stage["units"]) == 2
        best = stage["units"][0]["images"][0]
        assert best.keys() == {"path", "label", "value", "row", "column", "area"}
        assert best["path"].startswith(best["label"])
    assert {tuple(point) for point in found["plane"]} == {("path", "label", "predicted", "pca", "t-sne")}
    assert len(found["pictures"]) == 2
    again = run_cli("look", run, "--images", "5", "--stage", "conv3")
    assert again.out == "page: look-2.html\n"
    page = Path("look-2.html").read_text("utf-8")
    for words in (
        "Inside resnet20_cifar",
        "5 images of photos test, chosen at random from 9",
        "conv3",
        "What excites units",
    ):
        assert words in page
    assert "conv2" not in page


def test_images_on_the_command_line(run_cli, run: Path, photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    photos = [photo_folder / "disc" / "000.jpg", photo_folder / "square" / "001.jpg"]
    answer = run_cli("look", run, *photos, tmp_path / "text.jpg", tmp_path / "none.jpg", "--json", "--out", "in.html")
    assert answer.code == 3
    assert "text.jpg: this is not an image" in answer.err
    assert "none.jpg" in answer.err
    assert [picture["path"] for picture in json.loads(answer.out)["pictures"]] == list(map(str, photos))
    assert Path("in.html").is_file()


def test_a_run_whose_images_are_gone(run_cli, run: Path, photo_folder: Path, tmp_path: Path) -> None:
    photo = shutil.copy(photo_folder / "disc" / "000.jpg", tmp_path / "one.jpg")
    moved = tmp_path / "elsewhere"
    photo_folder.rename(moved)
    answer = run_cli("look", run, photo, "--json")
    assert answer.code == 0
    assert "Units and features are left out" in answer.err
    found = json.loads(answer.out)
    assert (found["images"], found["units"], found["plane"]) == (None, [], [])
    assert len(found["pictures"]) == 1
    assert f"There is no folder or file at {photo_folder}" in Path("look.html").read_text("utf-8")
    named = json.loads(run_cli("look", run, "--data", moved, "--json").out)
    assert named["images"]["seen"] == 36
    assert run_cli("look", run, "--data", tmp_path / "nowhere").code == 3


def test_an_older_run_of_digits(run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = json.loads(run_cli("look", GOLDEN / "finished", "--images", "30", "--units", "1", "--json").out)
    assert found["images"]["seen"] == 30
    assert not (GOLDEN / "finished" / "look.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--stage", "cnv3"], 2, "Did you mean conv3"),
        (["--units", "0"], 2, "--units"),
        (["--images", "0"], 2, "--images"),
        (["--out", "there.html"], 2, "there.html exists"),
        (["--out", "page.txt"], 2, "ends with .html"),
        (["--device", "quantum"], 2, "quantum"),
    ],
)
def test_mistakes(run_cli, run: Path, arguments: list[str], code: int, words: str) -> None:
    Path("there.html").write_text("kept")
    answer = run_cli("look", run, *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert words in " ".join(answer.err.split())
    assert Path("there.html").read_text() == "kept"
    assert run_cli("look", run / "none").code == 4
