"""Which class is taken for which: counts by true and predicted class, of any number of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.images import as_array
from classicnets.scorer import Values

Ints = NDArray[np.int64]


class Cell(NamedTuple):
    """One count: how many images of the class with the index `true` were taken for that with the index `predicted`."""

    true: int
    predicted: int
    images: int


Cells = Sequence[int] | Ints
"""One of the columns of a table of counts: whole numbers (M,)."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts of images by true class (row) and predicted class (column). Only counts above 0 are stored.

    It reads like a list of its rows: `matrix[true][predicted]`, `len(matrix)`, `for row in matrix`.

    Attributes:
        num_classes: K, the number of rows and of columns.
        true: int64 (M,), the row of each stored count; M is at most the number of images.
        predicted: int64 (M,), its column. The counts are sorted by row, then by column.
        images: int64 (M,), the counts, each 1 or more.

    >>> ConfusionMatrix.of(np.array([0, 0, 1]), np.array([0, 2, 1]), 3)[0]
    (1, 0, 1)
    """

    num_classes: int
    true: Ints
    predicted: Ints
    images: Ints

    @classmethod
    def of(cls, labels: Values, predicted: Values, num_classes: int) -> ConfusionMatrix:
        """Count the images by their class and the class predicted for them: both int64 (N,) in 0..num_classes-1."""
        places, images = np.unique(as_array(labels) * num_classes + as_array(predicted), return_counts=True)
        return cls(num_classes, places // num_classes, places % num_classes, images)

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> ConfusionMatrix:
        """Build the matrix from all its counts, zeros included. Raises ValueError or TypeError if it is not square."""
        counts = np.array(rows, np.int64).reshape(len(rows), len(rows))
        true, predicted = counts.nonzero()
        return cls.from_cells(len(rows), true, predicted, counts[true, predicted])

    @classmethod
    def from_cells(cls, num_classes: int, true: Cells, predicted: Cells, images: Cells) -> ConfusionMatrix:
        """Build the matrix from its counts above 0, in any order; `true` and `predicted` are class indices.

        Raises ValueError or TypeError if a class index is outside 0..num_classes-1, a count is below 1, a cell comes
        twice, or the lengths differ.
        """
        rows, columns, counts = (np.asarray(cells, np.int64) for cells in (true, predicted, images))
        if not rows.shape == columns.shape == counts.shape == (len(counts),):
            raise ValueError("the columns of the confusion matrix differ in length")
        indices = np.concatenate([rows, columns])
        if ((indices < 0) | (indices >= num_classes)).any() or (counts < 1).any():
            raise ValueError("the confusion matrix has a class index or a count out of range")
        places = rows * num_classes + columns
        order = places.argsort(kind="stable")
        if (np.diff(places[order]) == 0).any():
            raise ValueError("the confusion matrix has a cell twice")
        return cls(num_classes, rows[order], columns[order], counts[order])

    def __len__(self) -> int:
        return self.num_classes

    def __getitem__(self, true: int) -> tuple[int, ...]:
        """The counts of one true class, by predicted class."""
        row = range(self.num_classes)[true]
        counts = np.zeros(self.num_classes, np.int64)
        mine = slice(*np.searchsorted(self.true, [row, row + 1]).tolist())
        counts[self.predicted[mine]] = self.images[mine]
        return tuple(counts.tolist())

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return (self[row] for row in range(self.num_classes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConfusionMatrix) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return self.num_classes, tuple(self.true.tolist()), tuple(self.predicted.tolist()), tuple(self.images.tolist())

    @property
    def total(self) -> int:
        """How many images were counted."""
        return int(self.images.sum())

    @property
    def right(self) -> Ints:
        """How many images of each class were predicted right: int64 (K,)."""
        diagonal = self.true == self.predicted
        return self._by(self.true[diagonal], self.images[diagonal])

    @property
    def actual(self) -> Ints:
        """How many images each class has: int64 (K,), the sums of the rows."""
        return self._by(self.true, self.images)

    @property
    def answered(self) -> Ints:
        """How many images were predicted to be of each class: int64 (K,), the sums of the columns."""
        return self._by(self.predicted, self.images)

    def dense(self) -> Ints:
        """All counts, zeros included: int64 (K, K). It takes 8 K^2 bytes: 800 MB for 10,000 classes."""
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        counts[self.true, self.predicted] = self.images
        return counts

    def grouped(self, group: Ints) -> ConfusionMatrix:
        """The matrix of groups of classes; `group` is the group of each class, int64 (K,), or -1 to leave it out."""
        num_groups = int(group.max()) + 1
        rows, columns = group[self.true], group[self.predicted]
        kept = (rows >= 0) & (columns >= 0)
        places, place = np.unique(rows[kept] * num_groups + columns[kept], return_inverse=True)
        images = _sums(place, self.images[kept], len(places))
        return ConfusionMatrix(num_groups, places // num_groups, places % num_groups, images)

    def mistakes(self) -> list[Cell]:
        """The counts of wrong answers, the highest first; of equals, the first by row and column."""
        wrong = self.true != self.predicted
        order = np.argsort(-self.images[wrong], kind="stable")
        columns = (self.true[wrong][order], self.predicted[wrong][order], self.images[wrong][order])
        return [Cell(*cell) for cell in zip(*(column.tolist() for column in columns), strict=True)]

    def _by(self, classes: Ints, images: Ints) -> Ints:
        return _sums(classes, images, self.num_classes)


def _sums(places: Ints, counts: Ints, number: int) -> Ints:
    """The sum of the counts of each place in 0..number-1."""
    sums = np.zeros(number, np.int64)
    np.add.at(sums, places, counts)
    return sums
