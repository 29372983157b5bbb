"""The sparse confusion matrix reads like a dense one."""

from __future__ import annotations

import numpy as np
import pytest

from classicnets.evaluation.confusion import Cell, ConfusionMatrix

ROWS = ((1, 0, 4, 0), (0, 2, 0, 0), (4, 1, 3, 0), (0, 0, 0, 0))


@pytest.fixture
def matrix() -> ConfusionMatrix:
    return ConfusionMatrix.from_rows(ROWS)


def test_it_reads_like_its_rows(matrix: ConfusionMatrix) -> None:
    assert tuple(matrix) == ROWS
    assert (len(matrix), matrix[2][1], matrix[-1]) == (4, 1, (0, 0, 0, 0))
    assert matrix.dense().tolist() == [list(row) for row in ROWS]
    with pytest.raises(IndexError):
        matrix[4]


def test_its_sums(matrix: ConfusionMatrix) -> None:
    assert matrix.total == 15
    assert matrix.right.tolist() == [1, 2, 3, 0]
    assert matrix.actual.tolist() == [5, 2, 8, 0]
    assert matrix.answered.tolist() == [5, 3, 7, 0]
    assert matrix.mistakes() == [Cell(0, 2, 4), Cell(2, 0, 4), Cell(2, 1, 1)]


def test_one_matrix_in_three_ways(matrix: ConfusionMatrix) -> None:
    pairs = [(i, j) for i, row in enumerate(ROWS) for j, count in enumerate(row) for _ in range(count)]
    labels, predicted = np.array(pairs[::-1]).T
    assert ConfusionMatrix.of(labels, predicted, 4) == matrix
    columns = (column[::-1].tolist() for column in (matrix.true, matrix.predicted, matrix.images))
    again = ConfusionMatrix.from_cells(4, *columns)
    assert again == matrix
    assert hash(again) == hash(matrix)
    assert again != ConfusionMatrix.from_rows([row[:3] for row in ROWS[:3]])


def test_groups_of_classes(matrix: ConfusionMatrix) -> None:
    assert tuple(matrix.grouped(np.array([0, 1, 0, 1]))) == ((12, 1), (0, 2))
    assert tuple(matrix.grouped(np.array([0, -1, 1, -1]))) == ((1, 4), (4, 3))
