"""How long a report takes is estimated from what it draws and shows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from classicnets.data import ImageSet
from classicnets.reports import duration
from classicnets.reports.duration import report_seconds
from classicnets.system import stopwatch


def _images(classes: int, each: int) -> ImageSet:
    labels = torch.arange(classes).repeat(each)
    pixels = torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)
    ids = tuple(map(str, range(len(labels))))
    return ImageSet(tuple(map(str, range(classes))), labels, ids, images=pixels)


@pytest.mark.parametrize(
    ("classes", "each", "pictures"),
    [(2, 100, 10 + 48), (200, 2, 100 + 48), (2, 1, 2 + 4)],
)
def test_a_report_takes_its_figures_its_pictures_and_the_rest(
    monkeypatch: pytest.MonkeyPatch, classes: int, each: int, pictures: int
) -> None:
    """Here a figure takes a second, and a picture a hundredth."""
    clock = [0.0]

    def after(seconds: float, answer: object) -> object:
        clock[0] += seconds
        return answer

    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(duration, "png", lambda figure: after(1.0, b""))
    monkeypatch.setattr(duration, "picture", lambda images, index, *, side: after(0.01, torch.zeros(3, side, side)))
    monkeypatch.setattr(duration, "thumbnail_uri", lambda picture: "")
    expected = duration._FIGURES + 0.01 * pictures + duration._REST
    assert report_seconds(_images(classes, each)) == pytest.approx(expected)
