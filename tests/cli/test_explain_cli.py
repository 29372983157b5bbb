"""`classicnets explain`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifiers import tiny_classifier
from photos import PHOTO_CLASSES, encode, make_photo


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a classifier of photos, with flip averaging."""
    return tiny_classifier(PHOTO_CLASSES, channels=3, tta="flip").save(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos and a text file named .jpg."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(encode(make_photo("disc", seed, (60, 40)), quality=90))
    (folder / "text.jpg").write_text("no image")
    return folder


def test_a_bad_image_does_not_end_the_rest(run_cli, model: Path, photos: Path, tmp_path: Path) -> None:
    answer = run_cli("explain", model, photos, "--out", tmp_path / "maps", "--json", "--class", "square")
    assert answer.code == 3
    assert "text.jpg: this is not an image" in answer.err
    rows = json.loads(answer.out)
    assert [Path(row["path"]).name for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert len(list((tmp_path / "maps").iterdir())) == 6
    for row in rows:
        assert row["class"] == "square"
        assert 0 <= row["score"] <= 1
        assert row["empty"] or isinstance(row["verdict"]["passes"], bool)
        values = np.load(row["values"])
        assert list(values.shape) == row["map_size"]
        assert np.isfinite(values).all()
        with Image.open(row["overlay"]) as overlay:
            assert overlay.format == "PNG"


def test_the_table_names_the_file_and_the_finding(
    run_cli, model: Path, photos: Path, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("explanations", "explanations-2"):
        answer = run_cli(
            "explain", model, photos / "0.jpg", "--no-verdict", "--method", "grad-cam++", "--stage", "conv2"
        )
        assert answer.code == 0
        assert f"{folder}/0.png" in answer.out
        assert Path(folder, "0.npy").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--class", "sqare"], 2, "Did you mean square?"),
        (["--stage", "conv9"], 2, "No stage named 'conv9'. Did you mean conv"),
        (["--method", "occlusion", "--stage", "conv4"], 2, "takes no stage"),
        (["--method", "gradcam"], 2, "grad-cam"),
        (["--out", "{there}"], 2, "which exists"),
        (["--device", "quantum"], 2, "quantum"),
    ],
)
def test_mistakes(
    run_cli, model: Path, photos: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    answer = run_cli("explain", model, photos / "0.jpg", *(argument.format(there=there) for argument in arguments))
    assert (answer.code, answer.out) == (code, "")
    assert words in " ".join(answer.err.split())
    assert list(there.iterdir()) == []


def test_no_run_and_no_image(run_cli, model: Path, photos: Path, tmp_path: Path) -> None:
    assert run_cli("explain", tmp_path / "none", photos).code == 4
    answer = run_cli("explain", model, photos / "none.jpg", photos / "text.jpg", "--out", tmp_path / "maps")
    assert answer.code == 3
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 2
    assert not (tmp_path / "maps").exists()


def test_a_bar_shows_how_far_each_image_is(run_cli, model: Path, photos: Path, monkeypatch, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []

    @contextmanager
    def recorded() -> Iterator[Callable[[str, int, int], None]]:
        yield lambda what, done, total: reports.append((what, done, total))

    monkeypatch.setattr("classicnets.cli.explain.progress_bars", recorded)
    assert run_cli("explain", model, photos / "0.jpg", photos / "1.jpg", "--out", tmp_path / "maps").code == 0
    assert list(dict.fromkeys(what for what, _, _ in reports)) == ["Image 1 of 2", "Image 2 of 2"]
    assert len(reports) > 20
    for what in ("Image 1 of 2", "Image 2 of 2"):
        done, total = [(done, total) for name, done, total in reports if name == what][-1]
        assert done <= total
