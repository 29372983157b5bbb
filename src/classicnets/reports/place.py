"""Places for the labels of dots, so that no label covers a dot or another label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_GAPS = (2, 6, 11, 17, 24, 32, 42, 54, 68, 84, 102, 124)
_STEPS = 12
_ANGLES = (0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240)


Point = tuple[float, float]


class Dot(NamedTuple):
    """A dot: its centre and radius, in pixels."""

    x: float
    y: float
    radius: float


class Box(NamedTuple):
    """A rectangle: its edges, in pixels; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Its point that is nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    def covers(self, x: float, y: float, radius: float) -> bool:
        """Whether it covers a part of the circle around (x, y)."""
        return math.dist(self.nearest(x, y), (x, y)) < radius

    def holds(self, other: Box) -> bool:
        """Whether `other` lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top


def place_labels(dots: Sequence[Dot], sizes: Sequence[tuple[float, float]], inside: Box) -> list[Box]:
    """Return a place for the label of each dot: as near to it as dots and the other labels allow.

    Args:
        dots: the dots.
        sizes: width and height of each dot's label, in pixels.
        inside: where labels may lie.

    If a label has no free place, it gets the one where it covers least.

    >>> place_labels([Dot(50, 50, 4)], [(30, 10)], Box(0, 0, 100, 100))
    [Box(left=56.0, bottom=45.0, right=86.0, top=55.0)]
    """
    placed: list[Box] = []
    lines: list[Point] = []
    for dot, size in zip(dots, sizes, strict=True):
        places = list(_around(dot, size))
        places = [place for place in places if inside.holds(place)] or places
        best, least = places[0], math.inf
        for place in places:
            line = _line(dot, place)
            cost = sum(place.overlap(other) for other in placed)
            cost += sum(place.covers(*other) for other in dots)
            cost += sum(place.covers(*point, 1) for point in lines)
            cost += sum(other.covers(*point, 1) for point in line for other in placed)
            if cost < least:
                best, least = place, cost
            if cost == 0:
                break
        placed.append(best)
        lines += _line(dot, best)
    return placed


def _line(dot: Dot, place: Box) -> list[Point]:
    """Points on the line from a dot to its label."""
    x, y = place.nearest(dot.x, dot.y)
    shares = [step / _STEPS for step in range(1, _STEPS)]
    return [(dot.x + share * (x - dot.x), dot.y + share * (y - dot.y)) for share in shares]


def _around(dot: Dot, size: tuple[float, float]) -> Iterator[Box]:
    """Places around the dot, the nearest first."""
    width, height = size
    for gap in _GAPS:
        for angle in _ANGLES:
            cosine, sine = round(math.cos(math.radians(angle)), 6), round(math.sin(math.radians(angle)), 6)
            x = dot.x + cosine * (dot.radius + gap + width / 2)
            y = dot.y + sine * (dot.radius + gap + height / 2)
            yield Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
