"""Corruptions: mild to strong, never empty, a function of seed and index; and a classifier measured on them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from classicnets.card import Card
from classicnets.data import Data, ImageSet, load_data
from classicnets.errors import ConfigError, DataError, UnknownName
from classicnets.evaluation import evaluate
from classicnets.evaluation.corruptions import CORRUPTIONS, Robustness, corrupt, evaluate_corruptions
from classicnets.reports.corruptions import corruption_sheet
from classicnets.reports.page import write_html
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES, make_photo


def _photos(size: int, channels: int = 3) -> Tensor:
    """Six photos, uint8 (6, C, size, size)."""
    pictures = [make_photo(PHOTO_CLASSES[i % 3], i, (size, size)) for i in range(6)]
    pixels = torch.stack([torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8) for one in pictures])
    return pixels.view(6, size, size, 3).permute(0, 3, 1, 2)[:, :channels].contiguous()


def _distance(first: Tensor, second: Tensor) -> float:
    return (first.float() - second.float()).abs().mean().item()


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_is_worse_than_the_one_before(name: str, size: int) -> None:
    images = _photos(size)
    levels = [corrupt(images, name, severity) for severity in range(1, 6)]
    distances = [_distance(level, images) for level in levels]
    assert distances == sorted(distances)
    assert len(set(distances)) == 5
    assert 0.5 < distances[0] < 45  # mild, and not nothing
    assert distances[4] > 1.3 * distances[0]
    for level in levels:
        assert level.shape == images.shape
        assert level.dtype == torch.uint8
        assert level.float().std(dim=(1, 2, 3)).min() > 3  # no picture is empty


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_it_is_a_function_of_seed_and_index(name: str) -> None:
    images = _photos(32)
    whole = corrupt(images, name, 3)
    assert torch.equal(corrupt(images, name, 3), whole)
    for i in (0, 5):
        assert torch.equal(corrupt(images[i : i + 1], name, 3, indices=torch.tensor([i])), whole[i : i + 1])
    is_random = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert torch.equal(corrupt(images, name, 3, seed=1), whole) != is_random
    same = corrupt(images[:1].expand(2, -1, -1, -1), name, 3)
    assert torch.equal(same[0], same[1]) != is_random


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_number_of_channels_and_any_shape(name: str, channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 9, 14), dtype=torch.uint8)
    assert corrupt(images, name, 5).shape == images.shape
    for level in (0, 255):
        flat = torch.full((1, channels, 8, 8), level, dtype=torch.uint8)
        assert corrupt(flat, name, 5).shape == flat.shape


def test_images_are_not_changed_in_place() -> None:
    images = _photos(28)
    kept = images.clone()
    for name in CORRUPTIONS:
        corrupt(images, name, 5)
    assert torch.equal(images, kept)


def test_mistakes_are_named() -> None:
    images = _photos(28)
    with pytest.raises(UnknownName, match="Did you mean fog"):
        corrupt(images, "frog", 1)
    with pytest.raises(ConfigError, match="severity must be 1 to 5, got 6"):
        corrupt(images, "fog", 6)


def test_a_sheet_shows_an_image_in_all_of_them() -> None:
    image = _photos(28)[0]
    sheet = corruption_sheet(image)
    assert sheet.shape == (3, 15 * 29, 6 * 29)
    assert torch.equal(sheet[:, 29:57, :28], image)
    assert torch.equal(sheet[:, :28, 29:57], corrupt(image[None], "gaussian_noise", 1)[0])
    assert corruption_sheet(image[:1]).shape == sheet.shape


# ---- a classifier measured on them


class Corner:
    """A scorer that answers with the brightest quarter of the image."""

    def __init__(self) -> None:
        self.card: Card = tiny_classifier(("NW", "NE", "SW", "SE")).card

    def logits(self, images: Tensor, **others: object) -> Tensor:
        return adaptive_avg_pool2d(images.float(), 2).flatten(1)


@pytest.fixture(scope="module")
def faint(corners: Data) -> ImageSet:
    """Images of corners that are hardly brighter than the rest: some are wrong, and more when they are damaged."""
    images = corners.train.images
    assert images is not None
    noise = torch.randint(0, 120, images.shape, generator=torch.Generator().manual_seed(5))
    return replace(corners.train, images=(images // 8 + noise).to(torch.uint8))


@pytest.fixture(scope="module")
def measured(faint: ImageSet) -> Robustness:
    return evaluate_corruptions(Corner(), faint, evaluate(Corner(), faint, data="things"), most=40)


def test_the_numbers_are_those_of_the_corrupted_images(measured: Robustness, faint: ImageSet) -> None:
    images = faint.sample(40)
    assert images.images is not None

    def accuracy(pixels: Tensor) -> float:
        return int((Corner().logits(pixels).argmax(1) == images.labels).sum()) / 40

    assert measured.num_images == 40
    assert 0.5 < measured.clean == accuracy(images.images)
    assert list(measured.accuracy) == list(CORRUPTIONS)
    assert measured.accuracy["fog"][2] == accuracy(corrupt(images.images, "fog", 3))
    every = [share for shares in measured.accuracy.values() for share in shares]
    assert measured.mean == pytest.approx(sum(every) / 75)
    assert measured.relative == pytest.approx(measured.mean / measured.clean)
    assert measured.mean_of(measured.worst) == min(map(measured.mean_of, CORRUPTIONS))
    for value, (low, high) in (
        (measured.mean, measured.mean_interval),
        (measured.relative, measured.relative_interval),
    ):
        assert 0 < low < value < high <= 1.2


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    from classicnets.evaluation.corruptions.robustness import _intervals

    generator = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(40):
        clean = (torch.rand(200, generator=generator) < 0.9).double()
        shares = clean * 0.5 + 0.1 * torch.rand(200, generator=generator, dtype=torch.float64)
        low, high = _intervals(shares, clean, 0)[1]
        hits += low <= 0.5 + 0.05 / 0.9 <= high
    assert hits >= 34


def test_it_comes_back_from_its_file(measured: Robustness, tmp_path: Path) -> None:
    assert measured.save(tmp_path) == tmp_path / "corruptions.json"
    assert Robustness.load(tmp_path) == measured
    for damage in ("", "[]", '{"format": 2}', '{"format": 1}'):
        (tmp_path / "corruptions.json").write_text(damage)
        with pytest.raises(DataError, match="--corruptions"):
            Robustness.load(tmp_path)


def test_steps_are_reported() -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 8)
    steps: list[tuple[str, int, int]] = []
    report = evaluate(classifier, images)
    evaluate_corruptions(classifier, images, report, progress=lambda *step: steps.append(step))
    assert steps == [("Corrupting images", i, 75) for i in range(76)]
    with pytest.raises(ConfigError, match="1 or more, got 0"):
        evaluate_corruptions(classifier, images, report, most=0)


def test_nothing_right_leaves_nothing() -> None:
    classifier = tiny_classifier(("a", "b"))
    images = images_for(classifier, 10, right=1.0)
    wrong = type(images)(images.classes, 1 - images.labels, images.ids, images=images.images)
    found = evaluate_corruptions(classifier, wrong, evaluate(classifier, wrong))
    assert found.clean == 0
    assert found.relative == 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_page_shows_it_only_with_its_own_report(tmp_path: Path, no_figures: None) -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 40)
    report = evaluate(classifier, images, data="things")
    evaluate_corruptions(classifier, images, report, most=10).save(tmp_path / "evaluation")
    page = write_html(tmp_path, report, images).read_text("utf-8")
    for words in ("Hard weather", "10 images, each in fifteen corruptions", "JPEG compression", "One image in all"):
        assert words in page
    other = images_for(classifier, 44)
    page = write_html(tmp_path, evaluate(classifier, other, data="things"), other).read_text("utf-8")
    assert "Hard weather" not in page


def test_digits_survive_the_mild_ones_and_not_the_strong_ones() -> None:
    """The label of a digit can still be read at severity 1 and mostly not at 5, by its nearest training digit."""
    data = load_data("digits")
    train, test = data.train.images, data.test.images[:60]
    assert train is not None
    assert test is not None

    def accuracy(pixels: Tensor) -> float:
        nearest = torch.cdist(pixels.flatten(1).float(), train.flatten(1).float()).argmin(dim=1)
        return (data.train.labels[nearest] == data.test.labels[:60]).double().mean().item()

    mild, strong = (
        sum(accuracy(corrupt(test, name, level)) for name in CORRUPTIONS) / len(CORRUPTIONS) for level in (1, 5)
    )
    assert mild > 0.8
    assert strong < mild - 0.1
