"""The roofline figure."""

from __future__ import annotations

import pytest

from classicnets.reports.canvas import DARK, LIGHT, png
from classicnets.reports.roofline import Point, roofline

POINTS = [Point("eager", 1, 10, 5), Point("eager", 32, 40, 20), Point("engine", 1, 10, 30), Point("engine", 32, 40, 90)]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_way_and_every_roof_is_named(theme) -> None:
    figure = roofline(
        POINTS, peaks={"fp32": 100.0, "bf16": 200.0}, gbps=10.0, finding="Fast", detail="a net", theme=theme
    )
    (axes,) = figure.axes
    texts = [text.get_text() for text in [*figure.texts, *axes.texts]]
    assert {"eager", "engine", "Fast", "memory: 10 GB/s", "fp32 matrix product: 100 GFLOP/s"} <= set(texts)
    assert texts.index("engine") < texts.index("eager")  # the faster one first
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    assert all(left < point.intensity < right and low < point.gflops < high for point in POINTS)
    assert png(figure).startswith(b"\x89PNG")


def test_one_point_of_a_net_without_reuse() -> None:
    figure = roofline([Point("a", 1, 0.3, 0.01)], peaks={"fp32": 60.0}, gbps=12.0, finding="f", detail="d")
    assert png(figure)
