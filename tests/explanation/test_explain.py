"""`explain`: any network, stage, class and image; the classifier stays as it was."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import classicnets as cn
from classicnets.classifier import Classifier
from classicnets.errors import BadImage, ConfigError, UnknownName
from classicnets.explanation.attribution import METHODS
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classifiers import tiny_classifier
from photos import encode, make_photo
from untouched import FAMILIES, same, snapshot, used_classifier


def photo(size: tuple[int, int] = (48, 40)) -> bytes:
    return encode(make_photo("disc", 0, size))


@pytest.mark.parametrize("tta", ["none", "flip"])
@pytest.mark.parametrize("method", METHODS)
def test_the_classifier_stays_as_it_was(method: str, tta: str) -> None:
    classifier = used_classifier(tta)
    before = snapshot(classifier)
    cn.explain(classifier, photo(), method=method)
    assert same(before, snapshot(classifier))


@pytest.mark.parametrize("method", METHODS)
def test_the_classifier_stays_as_it_was_on_errors(method: str) -> None:
    classifier = used_classifier("flip")
    before = snapshot(classifier)
    calls = 0

    def fail(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        cn.explain(classifier, photo(), method=method, progress=fail)
    assert same(before, snapshot(classifier))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("tta", ["none", "flip"])
def test_every_stage_of_every_family(name: str, tta: str) -> None:
    net = create(name, num_classes=3, generator=torch.Generator().manual_seed(2), **FAMILIES[name])
    net.requires_grad_(False)
    side = max(32, net.config.min_size)
    channels = net.config.in_channels
    preprocess = Preprocess(input_size=(side, side), mean=(0.4,) * channels, std=(0.3,) * channels)
    classifier = Classifier(model=net, model_name=name, classes=("a", "b", "c"), preprocess=preprocess, tta=tta)
    stages = [stage for stage, _ in net.trunk.named_children()]
    method = "grad-cam" if tta == "flip" else "grad-cam++"
    for stage in stages:
        explanation = cn.explain(classifier, photo(), method=method, class_name="c", stage=stage, verdict=False)
        assert (explanation.stage, explanation.label) == (stage, "c")
        assert np.isfinite(explanation.values).all()
        assert np.isfinite(explanation.heat).all()
    assert cn.explain(classifier, photo(), verdict=False).stage in stages


def test_an_answer_is_that_of_predict() -> None:
    for tta in ("none", "flip"):
        classifier = tiny_classifier(channels=3, tta=tta)
        explanation = cn.explain(classifier, photo(), verdict=False)
        guess = classifier.predict(photo()).predictions[0]
        assert explanation.label == explanation.predicted == guess.label
        assert explanation.score == pytest.approx(guess.score, abs=1e-5)


def test_every_kind_of_image_and_inside_inference_mode() -> None:
    classifier = tiny_classifier(channels=3)
    pixels = np.array(Image.open(io.BytesIO(encode(make_photo("disc", 0), "png"))))
    kinds = (
        io.BytesIO(encode(make_photo("disc", 0), "png")),
        Image.fromarray(pixels),
        pixels,
        torch.from_numpy(pixels).permute(2, 0, 1),
    )
    with torch.inference_mode():
        maps = [cn.explain(classifier, kind, verdict=False).values for kind in kinds]
    for values in maps[1:]:
        np.testing.assert_array_equal(values, maps[0])


def test_more_channels_than_a_picture_has() -> None:
    classifier = tiny_classifier(channels=5)
    explanation = cn.explain(classifier, torch.randint(0, 256, (5, 20, 30), dtype=torch.uint8))
    assert explanation.picture.shape == (3, 20, 30)
    assert explanation.to_png().startswith(b"\x89PNG")


def empty_classifier() -> Classifier:
    """Its class "a" gets nothing from any image: outputs are at or above 0, and its weights below."""
    classifier = tiny_classifier(channels=3)
    torch.nn.init.constant_(classifier.model.head.classifier.weight[0], -1.0)
    return classifier


def test_an_empty_map_is_said_to_be_empty(tmp_path: Path) -> None:
    explanation = cn.explain(empty_classifier(), photo(), class_name="a", stage="conv4")
    assert explanation.is_empty
    assert explanation.verdict is None
    assert not explanation.heat.any()
    assert explanation.finding.startswith("Empty map")
    assert not explanation.is_trusted
    grey = cn.explain(empty_classifier(), photo(), class_name="b", stage="conv4", verdict=False)
    plain = explanation.overlay().astype(int)
    assert np.ptp(plain, axis=2).max() < np.ptp(grey.overlay().astype(int), axis=2).max()
    values = explanation.save(tmp_path)[1]
    assert np.isfinite(np.load(values)).all()
    assert np.load(values).max() <= 0


def test_a_network_whose_numbers_are_too_large_is_refused() -> None:
    classifier = tiny_classifier(channels=3)
    torch.nn.init.constant_(classifier.model.head.classifier.weight, float("inf"))
    with pytest.raises(ConfigError, match="not finite"):
        cn.explain(classifier, photo())


def test_a_map_of_pixels_is_drawn_smooth_and_kept_as_it_is() -> None:
    """A single high pixel lights up its neighbourhood in the picture, and stays a single pixel in the map."""
    explanation = cn.explain(tiny_classifier(channels=3), photo(), verdict=False)
    values = np.zeros((56, 56), np.float32)
    values[20, 30] = 1
    smooth = replace(explanation, values=values, stage=None).heat
    assert [int(side.max() - side.min()) + 1 for side in smooth.nonzero()] == [2, 2]
    assert (replace(explanation, values=values).heat > 0).sum() == 1
    assert smooth.max() == 1


def test_files_are_never_overwritten(tmp_path: Path) -> None:
    classifier = tiny_classifier(channels=3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cat.v1.jpg").write_bytes(photo())
    explanation = cn.explain(classifier, tmp_path / "in" / "cat.v1.jpg", verdict=False)
    assert [path.name for path in explanation.save(tmp_path / "out")] == ["cat.v1.png", "cat.v1.npy"]
    assert [path.name for path in explanation.save(tmp_path / "out")] == ["cat.v1-2.png", "cat.v1-2.npy"]
    assert json.dumps(explanation.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stage": "conv5"}, r"No stage named 'conv5'\. Did you mean conv4"),
        ({"class_name": "B"}, r"No class named 'B'\. Did you mean b\?"),
        ({"method": "gradcam"}, r"No method named 'gradcam'\. Did you mean grad-cam"),
    ],
)
def test_a_wrong_name_is_answered_with_the_near_ones(given: dict[str, str], words: str) -> None:
    with pytest.raises(UnknownName, match=words):
        cn.explain(tiny_classifier(channels=3), photo(), **given)


def test_other_mistakes() -> None:
    classifier = tiny_classifier(channels=3)
    with pytest.raises(BadImage, match="not an image"):
        cn.explain(classifier, b"no image")
    with pytest.raises(ConfigError, match="takes no stage"):
        cn.explain(classifier, photo(), method="occlusion", stage="conv4")
    with pytest.raises(ConfigError, match="got ResNet"):
        cn.explain(classifier.model, photo())
