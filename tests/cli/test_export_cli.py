"""`classicnets export` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifiers import tiny_classifier
from offline import without_network
from photos import PHOTO_CLASSES


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classicnets.deployment.export.large_photos", lambda *args: None)
    monkeypatch.setattr("classicnets.deployment.engines.usable_cores", lambda: 1)


@pytest.fixture
def run(photo_folder: Path, tmp_path: Path) -> Path:
    """A run folder as a training on `photo_folder` leaves it, with a model that learned nothing."""
    record = {
        "source": str(photo_folder), "split_seed": 0, "val_fraction": 0.25, "test_fraction": 0.25, "on_error": "fail",
    }  # fmt: skip
    tiny_classifier(PHOTO_CLASSES, channels=3, provenance={"data": record}).save(tmp_path / "run" / "model")
    return tmp_path / "run"


def test_it_says_what_was_checked(run_cli, run: Path) -> None:
    answer = run_cli("export", run, "--engine", "onnx")
    assert answer.code == 0
    bundle = run / "bundle"
    for words in (
        f"bundle    {bundle}, ", "network   resnet20_cifar, 3 classes, uint8 (N, 3, 12, 12) -> probabilities\n",
        "engine    onnxruntime, computes in fp32\n", "100% of the best classes are the same",
        "on 9 photos validation images: a drop of 0.00 points", f"classicnets predict {bundle} IMAGE",
    ):  # fmt: skip
        assert words in answer.out
    predicted = run_cli("predict", bundle, next(run.parent.rglob("disc/*.jpg")), "--format", "json")
    assert predicted.code == 0
    assert json.loads(predicted.out)[0]["model"] == "resnet20_cifar"


def test_json_has_the_place_and_the_measurements(run_cli, run: Path) -> None:
    answer = json.loads(run_cli("export", run, "--engine", "onnx", "--out", run.parent / "new", "--json").out)
    assert answer["bundle"] == str(run.parent / "new")
    assert answer["measured"]["executed"] == "fp32"
    assert "model.onnx" in answer["files"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--out", "taken"), 2, "taken exists"),
        (("--engine", "tvm"), 2, "tvm"),
        (("--max-drop", "-1"), 2, "--max-drop is in percentage points of accuracy, from 0 to 100; got -1."),
        (("--image-size", "0"), 2, "--image-size is in pixels, 1 or more; got 0."),
        (("--engine", "torch", "--precision", "int8"), 2, "Choose --engine openvino or onnx"),
    ],
    ids=str,
)
def test_bad_input(
    run_cli, run: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.chdir(run.parent)
    (run.parent / "taken").mkdir()
    answer = run_cli("export", run, *options)
    assert answer.code == code
    assert words in answer.err
    assert not (run / "bundle").exists()


def test_a_folder_that_is_no_run(run_cli, tmp_path: Path) -> None:
    answer = run_cli("export", tmp_path / "nothing")
    assert answer.code == 4
    assert "does not exist. Give a run folder" in answer.err


def test_exporting_tries_no_connection(run: Path, tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir()
    done, tried = without_network(["-m", "classicnets", "export", run], tmp_path / "offline")
    assert done.returncode == 0, done.stderr
    assert tried == []
    assert (run / "bundle" / "model.xml").is_file()
