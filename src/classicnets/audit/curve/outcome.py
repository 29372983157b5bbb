"""A learning curve in words, numbers and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classicnets.audit.curve.fit import PowerLaws
from classicnets.audit.folder import json_bytes, write_new_folder
from classicnets.evaluation.metrics import Interval
from classicnets.reports.text import percent

ENOUGH = 0.005
"""If doubling the images adds less than this to the accuracy, at the upper end of the interval, they are enough."""
MORE = 100  # images of each class


class Point(NamedTuple):
    """The accuracy that was measured with `images` training images, with its 95 % interval."""

    images: float
    accuracy: float
    interval: Interval


class Gain(NamedTuple):
    """What more images add to the accuracy, -1..1, with its 95 % interval."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.value * 100:+.1f} points ({self.interval.low * 100:.1f} to {self.interval.high * 100:.1f})"

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return {"gain": self.value, "low": self.interval.low, "high": self.interval.high}


@dataclass(frozen=True, eq=False)
class Curve:
    """The accuracy on some images by the number of training images.

    Attributes:
        name: "all classes", or the name of a class.
        points: what was measured, the fewest images first.
        laws: the curves through resamples of the points.
        now: how many images there are now, of all classes.
        added: how many images of all classes `more` adds.
    """

    name: str
    points: tuple[Point, ...]
    laws: PowerLaws
    now: int
    added: int

    @property
    def more(self) -> Gain:
        """What 100 more images of each class would add."""
        return Gain(*self.laws.gain(self.now, self.now + self.added))

    @property
    def doubled(self) -> Gain:
        """What twice the images would add."""
        return Gain(*self.laws.gain(self.now, 2 * self.now))

    @property
    def is_enough(self) -> bool:
        """Whether doubling the images adds less than half a point, at the upper end of the interval."""
        return self.doubled.interval.high < ENOUGH

    def at(self, number: float) -> Point:
        """The accuracy that the curves give for `number` training images."""
        return Point(number, *self.laws.accuracy(number))

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "name": self.name,
            "points": [
                {"images": p.images, "accuracy": p.accuracy, "low": p.interval.low, "high": p.interval.high}
                for p in self.points
            ],
            "now": self.at(self.now).accuracy,
            "more": self.more.to_dict(),
            "doubled": self.doubled.to_dict(),
            "enough": self.is_enough,
        }


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """The learning curve of labelled images. Print it, `save` it as a page, a figure and JSON.

    Attributes:
        name: of the data.
        overall: the curve over all classes.
        classes: a curve for each class with enough images; those that gain most from more images first.
        method: what learned, in words.
        notes: what the user should know, one sentence each.
    """

    name: str
    overall: Curve
    classes: tuple[Curve, ...]
    method: str
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        all_ = self.overall
        if all_.is_enough:
            high = all_.doubled.interval.high * 100
            return f"There are enough images: twice as many would add at most {high:.1f} points to the accuracy"
        return (
            f"{MORE} more images of each class would add {all_.more} to the accuracy of "
            f"{percent(all_.at(all_.now).accuracy)}; twice as many images {all_.doubled}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "data": self.name,
            "num_images": self.overall.now,
            "method": self.method,
            "result": self.sentence,
            "enough": self.overall.is_enough,
            "more_of_each_class": MORE,
            "overall": self.overall.to_dict(),
            "classes": [curve.to_dict() for curve in self.classes],
            "notes": list(self.notes),
        }

    def to_html(self) -> str:
        """Return the page: one HTML document that needs no other file."""
        from classicnets.audit.curve.page import curve_page  # needs matplotlib

        return curve_page(self)

    def save(self, folder: str | Path) -> Path:
        """Write curve.html, curve.png and curve.json to a new folder, and return it.

        Raises ConfigError if the folder exists, StorageError if it cannot be written.

        >>> learning_curve("photos/").save("audit")  # doctest: +SKIP
        PosixPath('audit')
        """
        from classicnets.audit.curve.page import draw  # needs matplotlib
        from classicnets.reports.canvas import png

        files = {
            "curve.html": self.to_html().encode(),
            "curve.png": png(draw(self)),
            "curve.json": json_bytes(self.to_dict()),
        }
        return write_new_folder(folder, files)

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {self.sentence}", *(f"note: {note}" for note in self.notes)])


def points_of(sizes: np.ndarray, accuracies: Sequence[float], rates: np.ndarray) -> tuple[Point, ...]:
    """The measured points; `rates` are resampled error rates, (B, S)."""
    low, high = 1 - np.quantile(rates, (0.975, 0.025), axis=0)
    return tuple(
        Point(float(size), float(accuracy), Interval(float(lower), float(upper)))
        for size, accuracy, lower, upper in zip(sizes, accuracies, low, high, strict=True)
    )


def rows(curves: Sequence[Curve]) -> list[tuple[str, ...]]:
    """Each curve as a row of a table: its name, the accuracy now, what more images would add, and whether enough."""
    return [
        (
            curve.name,
            percent(curve.at(curve.now).accuracy),
            str(curve.more),
            str(curve.doubled),
            "yes" if curve.is_enough else "no",
        )
        for curve in curves
    ]
