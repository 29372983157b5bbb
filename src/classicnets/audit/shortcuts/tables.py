"""Clues in a table: the group of each image, and every other column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from classicnets.audit.shortcuts.clue import Clue, Feature, flags, varies
from classicnets.data.imageset import ImageSet

_NUMERIC = 0.9  # the share of a column's values that must be numbers, for it to be a column of numbers
_MOST_COLUMNS = 20


class TableClues(NamedTuple):
    """The clues, and one sentence for each column that is none."""

    clues: list[Clue]
    notes: list[str]


def table_clues(images: ImageSet) -> TableClues:
    """Return the group and the columns of a set as clues, the first 20 columns of a wide table."""
    clues: list[Clue] = []
    notes: list[str] = []
    if images.groups is not None and len(set(images.groups)) < len(images):
        clues.append(_group(images.groups))
    labels = [images.classes[label] for label in images.labels.tolist()]
    for name, values in list(images.columns.items())[:_MOST_COLUMNS]:
        numbers = _numbers(values)
        if _repeats(values, labels):
            notes.append(f"column {name!r} gives each class a name of its own, so it repeats the label")
        elif numbers is None and len(set(values)) == len(values):
            notes.append(f"column {name!r} has another text for every image, from which nothing can be learned")
        elif numbers is not None and _counts_rows(numbers):
            notes.append(f"column {name!r} only numbers the rows")
        elif features := varies([Feature(name, numbers)] if numbers is not None else flags(f"{name} is {{}}", values)):
            clues.append(_column(name, features))
    if len(images.columns) > _MOST_COLUMNS:
        notes.append(
            f"the table has {len(images.columns)} other columns; only the first {_MOST_COLUMNS} were looked at"
        )
    return TableClues(clues, notes)


def _group(groups: Sequence[str]) -> Clue:
    numbers = {group: float(i) for i, group in enumerate(dict.fromkeys(groups))}
    return Clue(
        "group", "table", True, (Feature("group", np.array([numbers[group] for group in groups])),),
        "Who knows the group knows the class, and a network may learn to know the group. Keep each group in one part, "
        "as `classicnets` does if the table has a column `group`, and collect several classes from each group.",
        crosses_groups=True,
    )  # fmt: skip


def _column(name: str, features: tuple[Feature, ...]) -> Clue:
    return Clue(
        f"column {name!r}", "table", False, features,
        f"A network does not see the table. If {name!r} says how or where an image was made, the pixels show it too: "
        f"collect each class with all of its values, and compare the results for each value.",
    )  # fmt: skip


def _repeats(values: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether each value stands for one class and each class for one value."""
    pairs = set(zip(values, labels, strict=True))
    return len(pairs) == len(set(values)) == len(set(labels)) > 1


def _counts_rows(numbers: np.ndarray) -> bool:
    """Whether these are N whole numbers without a gap."""
    ordered = np.sort(numbers)
    return bool((np.diff(ordered) == 1).all() and ordered[0] == round(float(ordered[0])))


def _numbers(values: Sequence[str]) -> np.ndarray | None:
    """A column as numbers, NaN if it is empty or no number; None if it is a column of words."""
    numbers = np.array([_number(value) for value in values])
    filled = sum(bool(value) for value in values)
    return numbers if filled and np.isfinite(numbers).sum() >= _NUMERIC * filled else None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
