"""The page of a learning curve."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from classicnets.audit.curve.outcome import Curve, LearningCurve, rows
from classicnets.reports.canvas import LIGHT, Theme
from classicnets.reports.html import render, themed
from classicnets.reports.learning_curve import CurveDots, learning_figure

_PANELS = 6  # classes that are drawn


def curve_page(found: LearningCurve) -> str:
    """The page as HTML."""
    return render(
        "curve.html.j2",
        found=found,
        figure=themed(partial(draw, found)),
        classes=[(one.name, themed(partial(_draw_class, one))) for one in found.classes[:_PANELS]],
        rows=rows([found.overall, *found.classes]),
    )


def draw(found: LearningCurve, theme: Theme = LIGHT) -> Figure:
    """Draw the curve over all classes, up to twice the images."""
    enough = found.overall.is_enough
    headline = "There are enough images" if enough else f"Twice the images: {found.overall.doubled}"
    return learning_figure(_dots(found.overall), headline, f"{found.name}, {found.method}", theme)


def _draw_class(curve: Curve, theme: Theme = LIGHT) -> Figure:
    return learning_figure(_dots(curve), curve.name, f"Twice the images: {curve.doubled}", theme)


def _dots(curve: Curve) -> CurveDots:
    first = curve.points[0].images
    steps = 40
    numbers = [first * (2 * curve.now / first) ** (i / (steps - 1)) for i in range(steps)]
    return CurveDots(
        [(p.images, p.accuracy, p.interval) for p in curve.points],
        [(p.images, p.accuracy, p.interval) for p in map(curve.at, numbers)],
        curve.now,
    )
