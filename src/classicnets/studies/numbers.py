"""What hypotheses compare: small functions of the cells of one seed."""

from __future__ import annotations

from collections.abc import Callable

from classicnets.studies.claim import Cell, Cells


def difference(number: str, first: str, second: str) -> Callable[[Cells], float]:
    """Return a function of the cells: `number` of the arm `first` minus that of the arm `second`.

    >>> difference("accuracy", "a", "b")({"a": {"accuracy": 0.75}, "b": {"accuracy": 0.5}})
    0.25
    """
    return lambda cells: float(cells[first][number] - cells[second][number])


def ratio(number: str, first: str, second: str) -> Callable[[Cells], float]:
    """Return a function of the cells: `number` of the arm `first` divided by that of the arm `second`.

    >>> ratio("parameters", "a", "b")({"a": {"parameters": 60}, "b": {"parameters": 20}})
    3.0
    """
    return lambda cells: float(cells[first][number] / cells[second][number])


def epochs_to(cell: Cell, accuracy: float) -> float:
    """Return after how many epochs the training accuracy first reached `accuracy`, between epochs by a straight line.

    A training starts at 0. If it never reaches `accuracy`, all of its epochs are returned: at least so many.

    >>> epochs_to({"epochs": [{"epoch": 1, "train_accuracy": 0.4}, {"epoch": 2, "train_accuracy": 0.8}]}, 0.6)
    1.5
    """
    done, reached = 0.0, 0.0
    for row in cell["epochs"]:
        if row["train_accuracy"] >= accuracy:
            share = (accuracy - reached) / (row["train_accuracy"] - reached)
            return float(done + share * (row["epoch"] - done))
        done, reached = row["epoch"], row["train_accuracy"]
    return float(done)
