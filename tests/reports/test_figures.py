"""The figures: drawn without a warning whatever the classes are called, and saying what they show."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from classicnets.data import ImageSet
from classicnets.evaluation import Report, evaluate
from classicnets.evaluation.confusion import ConfusionMatrix
from classicnets.evaluation.metrics import Bin, Calibration
from classicnets.reports import canvas
from classicnets.reports.canvas import DARK, LIGHT
from classicnets.reports.confusion import confusion
from classicnets.reports.figures import save_figures
from classicnets.reports.labels import Labels
from classicnets.reports.mistakes import mistakes
from classicnets.reports.reliability import reliability
from classicnets.reports.thumbnails import pictures
from classifiers import images_for, tiny_classifier

ODD_NAMES = ("$x_2$ costs $5", "猫", "a" * 90, "two\nlines\t\x07", "\U0001f600", "حرف", "<b>&amp;</b>", "$", "ok")


def _measured(names: tuple[str, ...], n: int = 40, *, right: float = 0.6) -> tuple[Report, ImageSet]:
    classifier = tiny_classifier(names)
    images = images_for(classifier, n, right=right)
    return evaluate(classifier, images, data="猫 $1 test"), images


def _texts(figure: Figure) -> str:
    """All that is written in a figure."""
    figure.draw_without_rendering()
    parts = list(figure.texts)
    for axes in figure.axes:
        parts += [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]
    return "\n".join(part.get_text() for part in parts)


def _size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_any_class_name_is_drawn(theme: canvas.Theme) -> None:
    report, images = _measured(ODD_NAMES)
    for figure in (
        confusion(report, theme),
        reliability(report, theme),
        mistakes(report, images, theme),
    ):
        width, height = _size(canvas.png(figure))
        assert min(width, height) > 300
        assert max(width, height) < 2600


@pytest.mark.parametrize("k", [2, 35, 120])
def test_confusion_of_few_and_of_many_classes(k: int) -> None:
    names = tuple(f"class name {i}" for i in range(k))
    report, _ = _measured(names, n=3 * k, right=0.0)
    figure = confusion(report)
    _size(canvas.png(figure))
    labels = [text for text in _texts(figure).split("\n") if text.startswith("class name")]
    assert bool(labels) == (k <= 100)


def test_confusion_says_the_finding_and_every_count() -> None:
    report, _ = _measured(("one", "two", "three"))
    figure = confusion(report)
    texts = _texts(figure).split("\n")
    pair = report.confusions[0]
    support = report.per_class[pair.label].support
    assert f"{report.top1 * 100:.1f} % of 40 images are right" in texts
    assert f"Most often wrong: {pair.label} taken for {pair.predicted}, {pair.images} of {support}" in texts
    counts = sorted(count for row in report.confusion for count in row if count)
    assert sorted(int(text.get_text()) for text in figure.axes[0].texts) == counts


def test_classes_without_images_or_predictions_are_left_out() -> None:
    report, _ = _measured(("one", "two", "three"))
    wide = Report(
        **{**vars(report), "classes": (*report.classes, "ghost"),
           "confusion": ConfusionMatrix.from_rows([*((*row, 0) for row in report.confusion), (0, 0, 0, 0)])}
    )  # fmt: skip
    assert "ghost" not in _texts(confusion(wide))


def test_very_many_classes_are_drawn_in_groups() -> None:
    report, _ = _measured(tuple(f"c{i}" for i in range(1_400)), n=3)
    labels = torch.arange(2_800) % 1_400
    predicted = torch.where(torch.arange(2_800) < 1_400, labels, (labels + 700) % 1_400)
    wide = Report(**{**vars(report), "confusion": ConfusionMatrix.of(labels, predicted, 1_400), "top1": 0.5})
    (axes,) = confusion(wide).axes
    assert axes.get_xlabel() == "predicted, classes in groups of 6"
    cells = torch.as_tensor(axes.images[0].get_array())
    assert cells.shape == (234, 234, 3)
    assert axes.get_xlim() == (-0.5, 234 * 6 - 0.5)
    assert cells[5, 5, 2] > cells[5, 5, 0] + 0.2  # half of them right: blue
    assert cells[5, 122, 0] > cells[5, 122, 2] + 0.2  # the others taken for the class 700 further on: orange


def test_labels_can_be_drawn_and_distinguished() -> None:
    labels = Labels(("plain", "a" * 90, "\U0010fffd", "", "\x07", "$5"))
    assert [labels[i] for i in range(6)] == ["plain", "a" * 25 + "…", "class 2", "class 3", "class 4", r"\$5"]


def test_no_mistakes() -> None:
    report, images = _measured(("one", "two"), right=1.0)
    assert report.top1 == 1
    assert "No mistakes\nAll 40 images are right" in _texts(mistakes(report, images))
    assert "100 % of 40 images are right" in _texts(confusion(report))


def test_mistakes_are_counted() -> None:
    report, images = _measured(("one", "two", "three"), n=300, right=0.3)
    figure = mistakes(report, images)
    assert f"The 24 most confident of {len(report.mistakes)} mistakes" in _texts(figure)
    assert sum(len(axes.images) for axes in figure.axes) == 24


@pytest.mark.parametrize(
    ("confidence", "accuracy", "finding"),
    [
        (0.9, 0.8, "Overconfident: scores are 10.0 points too high"),
        (0.8, 0.9, "Underconfident: scores are 10.0 points too low"),
        (0.81, 0.8, "Scores match the accuracy"),
    ],
)
def test_reliability_says_the_finding(confidence: float, accuracy: float, finding: str) -> None:
    report, _ = _measured(("one", "two"))
    gap = confidence - accuracy
    calibration = Calibration(ece=abs(gap), gap=gap, bins=(Bin(0, 1, 40, confidence, accuracy),))
    assert finding in _texts(reliability(Report(**{**vars(report), "calibration": calibration})))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28), (3, 140, 140)),
        ((3, 400, 200), (3, 160, 80)),
        ((5, 8, 4), (3, 160, 80)),
        ((3, 2000, 3), (3, 160, 1)),
    ],
)
def test_pictures_fit(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    report, images = _measured(("one", "two"), n=2)
    images = ImageSet(images.classes, images.labels, images.ids, images=torch.full((2, *shape), 7, dtype=torch.uint8))
    (picture,) = pictures(report.answers[:1], images, side=160)
    assert picture.shape == expected
    assert np.unique(picture).tolist() == [7]


def test_save_figures(tmp_path: Path) -> None:
    report, images = _measured(("one", "two"))
    save_figures(report, images, tmp_path / "figures")
    names = {"confusion.png", "reliability.png", "mistakes.png"}
    assert {f.name for f in (tmp_path / "figures").iterdir()} == names
    (tmp_path / "metrics.csv").write_text(
        "epoch,train_loss,val_loss,train_accuracy,val_accuracy\n1,2.0,1.9,0.30,0.35\n"
    )
    save_figures(report, images, tmp_path / "figures", run=tmp_path)
    assert {f.name for f in (tmp_path / "figures").iterdir()} == names | {"curves.png"}
