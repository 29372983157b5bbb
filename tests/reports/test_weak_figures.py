"""The figures of slices and corruptions: drawn whatever the slices are called, and saying what they show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from classicnets.data.pipeline.pack import Packed
from classicnets.evaluation import Report, evaluate
from classicnets.evaluation.corruptions import CORRUPTIONS, Robustness
from classicnets.evaluation.metrics import Interval
from classicnets.reports import canvas
from classicnets.reports.canvas import DARK, LIGHT
from classicnets.reports.corruptions import corruption_curves
from classicnets.reports.slices import slice_intervals
from classifiers import images_for, tiny_classifier


def _report(values: list[str]) -> Report:
    """A report on 240 images, those with the first value mostly wrong."""
    classifier = tiny_classifier()
    images = replace(images_for(classifier, 240), columns={"camera": tuple(values)})
    wrong = torch.tensor([value == values[0] and i % 3 > 0 for i, value in enumerate(values)])
    logits = torch.nn.functional.one_hot(torch.where(wrong, (images.labels + 1) % 3, images.labels), 3).float()
    packed = Packed(images.images, images.labels, images.ids, 3)
    return evaluate(classifier, images, packed=packed, logits=logits)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_any_slice_is_drawn(theme: canvas.Theme) -> None:
    report = _report(["$x_2$ <b>", "猫", "two\nlines" * 9, "ok"] * 60)
    figure = slice_intervals(report, theme)
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == report.slices.finding
    assert "significantly below the rest" in texts[0]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == r"camera: \$x_2\$ <b>"
    assert len(labels) == len(report.slices.judged) > 4
    assert canvas.png(figure).startswith(b"\x89PNG")


def test_of_many_slices_the_lowest_are_drawn() -> None:
    figure = slice_intervals(replace(_report(["a", "b"] * 120), slices=_many(40)))
    assert len(figure.axes[0].get_yticklabels()) == 24
    assert "lowest 24 of 40" in figure.texts[1].get_text()


def _many(number: int):
    slices = _report(["a", "b"] * 120).slices
    one = slices.judged[0]
    return replace(slices, found=tuple(one._replace(value=str(i)) for i in range(number)))


def test_the_curves_say_how_much_is_left() -> None:
    accuracy = {name: tuple(0.9 - 0.1 * i for i in range(5)) for name in CORRUPTIONS} | {
        "fog": (0.5, 0.4, 0.3, 0.2, 0.1)
    }
    interval = Interval(0.6, 0.7)
    found = Robustness(
        model="m", data="d", loss=1.0, num_images=1000, seed=0, clean=0.95, accuracy=accuracy, mean=0.67,
        mean_interval=interval, relative=0.705, relative_interval=interval,
    )  # fmt: skip
    figure = corruption_curves(found)
    assert figure.texts[0].get_text() == "70.5 % of the accuracy is left; fog costs most"
    assert [len(axes.get_lines()) for axes in figure.axes] == [3, 4, 4, 4]
    assert figure.axes[0].get_lines()[0].get_ydata()[0] == 0.95
