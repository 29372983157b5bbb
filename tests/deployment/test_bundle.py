"""A bundle answers as a classifier does, without PyTorch, and refuses what was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import classicnets as cn
from bundles import CLASSES, colour, tiny_card, write_bundle, write_graph
from classicnets.card import Card
from classicnets.deployment import Bundle
from classicnets.deployment.engines import Settings, open_session
from classicnets.errors import BadImage, ChecksumMismatch, ConfigError, MissingExtra, UnknownName, WeightsError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture(scope="module")
def bundle(made: Path) -> Bundle:
    loaded = cn.load(made)
    assert isinstance(loaded, Bundle)
    return loaded


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def test_it_answers_one_image_and_many(bundle: Bundle) -> None:
    images = [colour(k).transpose(1, 2, 0) for k in range(3)]
    assert [bundle.predict(image).label for image in images] == list(CLASSES)
    assert [answer.label for answer in bundle.predict_many(images, batch_size=2)] == list(CLASSES)
    (bad,) = bundle.predict_many([b"no image"])
    assert isinstance(bad, BadImage)


def test_its_scores_are_the_probabilities_of_the_graph(bundle: Bundle) -> None:
    image = colour(1)[:, :8]
    expected = bundle.session.run(image[None]).probabilities[0]
    answer = bundle.predict(image.transpose(1, 2, 0))
    assert [guess.score for guess in answer.predictions] == pytest.approx(sorted(expected, reverse=True), abs=1e-6)
    logits = bundle.logits(image[None])
    assert bundle.card.probabilities(logits)[0] == pytest.approx(expected, abs=1e-6)


def test_a_probability_of_zero_stays_finite(bundle: Bundle) -> None:
    image = np.zeros((1, 3, 8, 8), np.uint8)
    image[0, 0] = 255
    assert np.isfinite(bundle.logits(image)).all()


@pytest.mark.parametrize("images", [np.zeros((1, 3, 9, 8), np.uint8), np.zeros((1, 3, 8, 8), np.float32)], ids=str)
def test_images_of_another_size_or_type(bundle: Bundle, images: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"takes uint8 images \(N, 3, 8, 8\), got"):
        bundle.logits(images)


def test_a_bundle_is_loaded_and_asked_without_torch(made: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(colour(2).transpose(1, 2, 0)).save(tmp_path / "blue.png")
    code = (
        "import sys, classicnets as cn\n"
        f"bundle = cn.load({str(made)!r})\n"
        f"answers = list(bundle.predict_many([{str(tmp_path / 'blue.png')!r}]))\n"
        "print(answers[0].label, bundle.predict(answers[0].path).label, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["blue", "blue", "False"], done.stderr


class TestBad:
    def test_a_changed_file(self, copied: Path) -> None:
        write_graph(copied / "model.onnx", bias=1e-3)
        with pytest.raises(ChecksumMismatch, match=r"model\.onnx was changed or damaged"):
            cn.load(copied)

    def test_a_missing_file(self, copied: Path) -> None:
        (copied / "model.onnx").unlink()
        with pytest.raises(WeightsError, match=r"model\.onnx is missing\. Export"):
            cn.load(copied)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 2}, "has format 2, and this version of classicnets reads up to 1"),
            ({"engine": "tensorrt"}, r"Invalid enum value 'tensorrt' - at `\$\.engine`"),
            ({"files": {"../../etc/passwd": "0" * 64}}, "names a file outside the bundle"),
            ({"card": {}}, "the card cannot be read"),
            ({"extra": 1}, "unknown field `extra`"),
            ({"settings": {"threads": 0}}, "threads must be a whole number from 1, got 0"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_a_document_that_does_not_fit(self, copied: Path, change: dict[str, Any], message: str) -> None:
        values = json.loads((copied / "bundle.json").read_text("utf-8"))
        (copied / "bundle.json").write_text(json.dumps(values | change), "utf-8")
        with pytest.raises(WeightsError, match=message):
            cn.load(copied)

    def test_a_document_that_is_none(self, copied: Path) -> None:
        (copied / "bundle.json").write_text("{", "utf-8")
        with pytest.raises(WeightsError, match="cannot be read"):
            cn.load(copied)

    def test_another_device(self, copied: Path) -> None:
        with pytest.raises(ConfigError, match="computes on the CPU, got device='cuda'"):
            cn.load(copied, device="cuda")

    def test_engines(self, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UnknownName, match="tensorrt"):
            open_session("tensorrt", copied)
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(MissingExtra, match="pip install openvino"):
            open_session("openvino", copied, Settings())


def test_a_card_goes_through_json() -> None:
    card = tiny_card()
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card
