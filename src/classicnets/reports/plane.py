"""Images on a plane: the figure of features in two dimensions, and the marks of its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from classicnets.reports.canvas import DARK, LIGHT, Theme, distinct_colours, new_figure, write_title
from classicnets.reports.thumbnails import thumbnail

_SHAPES = {"o": "●", "s": "■", "^": "▲", "D": "◆"}
_COLOURS = 8
_MOST_MARKED = _COLOURS * len(_SHAPES)
_MARGIN = 0.06  # around the points, as a share of their extent
_THUMBNAIL = 0.058  # a thumbnail's side as a share of the figure's
_APART = 0.066  # thumbnails are at least so far from each other
_MOST_THUMBNAILS = 70
_PIXELS = 64  # of a thumbnail's side
_MANY = 200  # more points are drawn smaller


class Mark(NamedTuple):
    """How the points of a class are drawn: a colour on light paper and one on dark, and a shape of matplotlib's.

    `sign` is the shape as a character.
    """

    light: str
    dark: str
    shape: str

    @property
    def sign(self) -> str:
        return _SHAPES[self.shape]


def class_marks(labels: Sequence[str]) -> dict[str, Mark]:
    """Return a mark for each class that has images; all kinds of colour vision tell them apart.

    Up to 32 classes have their own marks, of 8 colours and 4 shapes. Of more classes, the 8 with the most images have.
    """
    counts = Counter(labels)
    names = sorted(counts) if len(counts) <= _MOST_MARKED else [name for name, _ in counts.most_common(_COLOURS)]
    light, dark = (list(map(str, distinct_colours(_COLOURS, theme))) for theme in (LIGHT, DARK))
    shapes = list(_SHAPES)
    return {name: Mark(light[i % _COLOURS], dark[i % _COLOURS], shapes[i // _COLOURS]) for i, name in enumerate(names)}


def plane(
    places: np.ndarray,
    labels: Sequence[str],
    wrong: Sequence[bool],
    picture: Callable[[int], Tensor],
    *,
    finding: str,
    detail: str,
    theme: Theme = LIGHT,
) -> Figure:
    """Draw images as points on a plane, some of them as thumbnails; a cross marks wrong answers.

    Args:
        places: float (N, 2).
        labels: N true classes; `class_marks` says how each is drawn.
        wrong: whether the answer is wrong, N times.
        picture: returns image number i, uint8 (C, H, W).
        finding: the title.
        detail: the line below the title.
        theme: the colours.
    """
    figure = new_figure((5.6, 6.2), theme)
    axes = figure.add_axes((0.02, 0.015, 0.96, 0.96 * 5.6 / 6.2))
    spots = _in_square(places)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor=theme.paper)
    axes.spines[:].set_color(theme.line)
    scale = min(1.0, (_MANY / len(labels)) ** 0.5)  # of the area of a point or a cross
    marks = class_marks(labels)
    others = Mark(theme.line, theme.line, "o")
    names = sorted(set(labels), key=lambda name: (name in marks, name))  # those with marks of their own on top
    of_class = {name: marks.get(name, others) for name in names}
    for name, mark in of_class.items():
        x, y = spots[[i for i, label in enumerate(labels) if label == name]].T
        colour = _colour(mark, theme)
        axes.scatter(x, y, s=16 * scale, marker=mark.shape, color=colour, linewidths=0, alpha=0.8)
    for i in _spread(spots, wrong):
        _thumbnail(axes, spots[i], picture(i), _colour(of_class[labels[i]], theme))
    x, y = spots[[i for i, is_wrong in enumerate(wrong) if is_wrong]].T
    for colour, width in ((theme.paper, 3.2), (theme.ink, 1.3)):  # a cross is seen on any thumbnail
        axes.scatter(x, y, s=32 * scale, marker="x", color=colour, linewidths=width * scale**0.5, zorder=4)
    write_title(figure, finding, detail, theme)
    return figure


def _in_square(places: np.ndarray) -> np.ndarray:
    """The places scaled to the unit square, with the same scale along both axes."""
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    extent = float(np.ptp(places, axis=0).max()) or 1.0
    spots: np.ndarray = 0.5 + (places - middle) / extent * (1 - 2 * _MARGIN)
    return spots


def _spread(spots: np.ndarray, wrong: Sequence[bool]) -> list[int]:
    """Points that are drawn as thumbnails, far enough from each other; right answers first, so that crosses stay."""
    chosen: list[int] = []
    for i in sorted(range(len(spots)), key=lambda i: (wrong[i], i * 7919 % len(spots))):
        if len(chosen) == _MOST_THUMBNAILS:
            break
        distances = np.abs(spots[chosen] - spots[i]).max(axis=1) if chosen else np.array([1.0])
        if distances.min() >= _APART:
            chosen.append(i)
    return chosen


def _thumbnail(axes: Axes, spot: np.ndarray, image: Tensor, colour: str) -> None:
    small = thumbnail(image, _PIXELS)
    longest = max(small.shape[1:])
    height, width = (_THUMBNAIL / 2 * side / longest for side in small.shape[1:])
    box = axes.imshow(
        small.transpose(1, 2, 0),
        extent=(spot[0] - width, spot[0] + width, spot[1] - height, spot[1] + height),
        interpolation="antialiased", aspect="auto", zorder=2,
    )  # fmt: skip
    left, right, low, high = box.get_extent()
    axes.plot([left, right, right, left, left], [low, low, high, high, low], color=colour, linewidth=1.6, zorder=3)


def _colour(mark: Mark, theme: Theme) -> str:
    return mark.dark if theme == DARK else mark.light
