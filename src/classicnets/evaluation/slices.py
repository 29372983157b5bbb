"""Where a classifier is weak: its accuracy on slices of the images, such as those of one camera or the darkest ones.

    columns -> slices -> each compared with the rest -> corrected for their number

A text or a few numbers make a slice for each value; many numbers are divided at their quartiles. Each slice of 20 or
more images is compared with all other images by Fisher's exact test, one-sided. Of many slices the lowest is low by
chance, so the p-values are corrected by Holm's method, and the intervals are Wilson's at a level of 1 - 0.05 / M for M
slices (Bonferroni): all of them hold together with a chance of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.data.words import counted
from classicnets.evaluation.columns import FEW, Column, divided
from classicnets.evaluation.confusion import Ints
from classicnets.evaluation.metrics import Floats, Interval, log_factorials, wilson_interval
from classicnets.evaluation.paired import holm
from classicnets.images import as_array
from classicnets.scorer import Values

_LEVEL = 0.05  # the chance that any slice is called weak that is not
_MOST_FEW = 30  # slices of a column that are listed although they have few images


class Slice(NamedTuple):
    """Some of the images, and how many of them were answered right.

    Attributes:
        column: what they have in common: a column of the table, or "size", "brightness" or "sharpness".
        value: its value, or its range such as "31 to 55", which includes 55 and not 31.
        images: how many there are, 1 or more.
        right: how many were answered right.
        expected: the accuracy that their classes have over all images, in 0..1: a slice of hard classes is expected to
            be low.
        rest: the accuracy on all other images, in 0..1; None if the slice has few images.
        interval: of the accuracy, corrected for the number of slices; None if the slice has few images.
        p_value: of the test whether the accuracy is below the rest's, corrected; None if the slice has few images.
    """

    column: str
    value: str
    images: int
    right: int
    expected: float
    rest: float | None = None
    interval: Interval | None = None
    p_value: float | None = None

    @property
    def name(self) -> str:
        """The column and the value: "camera: phone"."""
        return f"{self.column}: {self.value}"

    @property
    def accuracy(self) -> float:
        """The share of right answers, in 0..1."""
        return self.right / self.images

    @property
    def is_judged(self) -> bool:
        """Whether the slice has enough images for a comparison with the rest."""
        return self.p_value is not None

    @property
    def is_weak(self) -> bool:
        """Whether the accuracy is significantly below the rest's, with all slices considered."""
        return self.p_value is not None and self.p_value < _LEVEL


@dataclass(frozen=True)
class Slices:
    """The slices of a set of images, and what could not be sliced.

    Attributes:
        found: the slices, column by column.
        left_out: what gave no slices and why, one sentence each.
    """

    found: tuple[Slice, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def judged(self) -> list[Slice]:
        """The slices that were compared with the rest, the lowest accuracy first."""
        return sorted((one for one in self.found if one.is_judged), key=lambda one: one.accuracy)

    @property
    def weak(self) -> list[Slice]:
        """The slices that are significantly below the rest, the lowest accuracy first."""
        return [one for one in self.judged if one.is_weak]

    @property
    def few(self) -> list[Slice]:
        """The slices with too few images to be judged."""
        return [one for one in self.found if not one.is_judged]

    @property
    def finding(self) -> str:
        """What was found, in one sentence; empty if nothing was compared."""
        judged, weak = self.judged, self.weak
        if not judged:
            return ""
        if not weak:
            return f"No slice of {len(judged)} is significantly below the rest"
        verb = "is" if len(weak) == 1 else "are"
        return f"{len(weak)} of {len(judged)} slices {verb} significantly below the rest"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: finding, found (one dictionary a slice) and left_out."""
        return {
            "finding": self.finding,
            "found": [{**one._asdict(), "accuracy": one.accuracy, "is_weak": one.is_weak} for one in self.found],
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Slices:
        """Build it from the values of `to_dict`. Raises KeyError or TypeError if they are others."""
        found = []
        for one in values["found"]:
            kept = {name: one[name] for name in Slice._fields}
            kept["interval"] = kept["interval"] and Interval(*kept["interval"])
            found.append(Slice(**kept))
        return cls(tuple(found), tuple(values["left_out"]))


def slices_of(columns: Iterable[Column], labels: Values, right: Values) -> Slices:
    """Divide measured images into slices and compare each with the rest.

    Args:
        columns: what may divide the N images, N 1 or more, as `columns.measured` gives them.
        labels: int64 (N,), the class of each image.
        right: bool (N,), whether it was answered right.

    Returns the slices; none if there are fewer than 40 images.

    >>> slices_of(measured(images, packed.ids, looks), labels, right).weak[0].name  # doctest: +SKIP
    'camera: phone'
    """
    labels, right = as_array(labels), as_array(right)
    total = len(labels)
    if total < 2 * FEW:
        return Slices(
            left_out=(f"{counted(total, 'image')} cannot be divided into slices: at least {2 * FEW} are needed",)
        )
    expected = _accuracy_of_class(labels, right)
    found: list[Slice] = []
    left_out: list[str] = []
    for column, members in divided(columns, left_out):
        few = [value for value, places in members.items() if len(places) < FEW]
        if len(few) > _MOST_FEW:
            left_out.append(f"{column}: {len(few):,} values with fewer than {FEW} images each are not shown")
            members = {value: places for value, places in members.items() if value not in few}
        for value, places in members.items():
            share = float(expected[places].mean())
            found.append(Slice(column, value, len(places), int(right[places].sum()), share))
    return Slices(tuple(_judged(found, total, int(right.sum()))), tuple(left_out))


def below_rest(right: int, images: int, all_right: int, total: int) -> float:
    """Return the p-value of Fisher's exact test, one-sided, in 0..1.

    It is the chance that `images` of all images, taken at random, have `right` right answers or fewer.

    Args:
        right, images: the right answers of the slice, 0..images, and its images, 1 or more.
        all_right, total: the same of all images, the slice's included.

    >>> round(below_rest(right=1, images=4, all_right=7, total=8), 3)
    1.0
    """
    k = np.arange(max(0, images - (total - all_right)), min(right, images, all_right) + 1)

    factorials = log_factorials(total)

    def ways(n: int, some: Any) -> Any:
        return factorials[n] - factorials[some] - factorials[n - some]

    logs = ways(all_right, k) + ways(total - all_right, images - k) - ways(total, images)
    return min(1.0, math.fsum(np.exp(logs)))


def _accuracy_of_class(labels: Ints, right: NDArray[np.bool_]) -> Floats:
    """For each image the accuracy of its class, float64 (N,)."""
    counts = np.maximum(np.bincount(labels), 1)
    accuracies: Floats = np.bincount(labels, right) / counts
    return accuracies[labels]


def _judged(found: list[Slice], total: int, all_right: int) -> list[Slice]:
    """The slices with interval, rest and p-value, if they have enough images and leave some out."""
    enough = [i for i, one in enumerate(found) if FEW <= one.images < total]
    p_values = [below_rest(found[i].right, found[i].images, all_right, total) for i in enough]
    for i, p_value in zip(enough, holm(p_values), strict=True):
        one = found[i]
        found[i] = one._replace(
            rest=(all_right - one.right) / (total - one.images),
            interval=wilson_interval(one.right, one.images, level=1 - _LEVEL / len(enough)),
            p_value=p_value,
        )
    return found
