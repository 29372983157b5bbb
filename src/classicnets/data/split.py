"""Splitting images into parts or folds: stratified, seeded, keeping together what belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from classicnets.data.shuffled import shuffled

if TYPE_CHECKING:
    from torch import Tensor

_MOST_FILL = 1.1  # times the target size of a part; a unit that would fill it further is left in training


class Split(NamedTuple):
    """The indices of each part, ascending. Every image is in exactly one."""

    train: list[int]
    val: list[int]
    test: list[int]


def split(
    labels: Tensor,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    together: Sequence[Sequence[Hashable]] = (),
) -> Split:
    """Split images so that each part has its fraction of every class.

    If no images are kept together, the numbers are exact: each class gives its rounded fraction, at least one image, to
    validation and to testing, and keeps at least one for training. So a class of two images has none for testing, and
    a class of one is in training only. If images are kept together, the numbers are as close as the groups allow, and
    a class whose images are all in one group is in training only.

    Args:
        labels: int64 (N,).
        val_fraction, test_fraction: shares from 0 to 1.
        seed: decides which images go where.
        together: sequences of N keys (groups, contents). Images with an equal key in any of them stay in one part.

    >>> import torch
    >>> made = split(torch.arange(40) % 2, val_fraction=0.1, test_fraction=0.1, seed=0)
    >>> len(made.train), len(made.val), len(made.test)
    (32, 4, 4)
    """
    answers: list[int] = labels.tolist()
    units = units_together(len(answers), together)
    order = shuffled(len(units), seed=seed).tolist()
    classes = [Counter(answers[i] for i in unit) for unit in units]
    wanted = {"val": Counter[int](), "test": Counter[int]()}
    for label, count in Counter(answers).items():
        wanted["val"][label], wanted["test"][label] = _shares(count, val_fraction, test_fraction)
    has = {"val": Counter[int](), "test": Counter[int]()}
    most = {part: _MOST_FILL * wanted[part].total() for part in wanted}
    size = dict.fromkeys(wanted, 0)
    in_train = Counter(label for unit in classes for label in unit)  # units with that class in train
    part_of = ["train"] * len(units)

    def gain(part: str, unit: int) -> int:
        """By how many images the unit would bring the part closer to its target."""
        return sum(
            abs(wanted[part][label] - has[part][label]) - abs(wanted[part][label] - has[part][label] - count)
            for label, count in classes[unit].items()
        )

    def has_room(part: str, unit: int) -> bool:
        return size[part] + len(units[unit]) <= most[part]

    def move(unit: int, part: str) -> None:
        part_of[unit] = part
        has[part].update(classes[unit])
        size[part] += len(units[unit])
        in_train.subtract(dict.fromkeys(classes[unit], 1))

    def may_leave(unit: int) -> bool:
        return all(in_train[label] > 1 for label in classes[unit])

    for unit in order:
        best = max(("test", "val"), key=lambda part: gain(part, unit))
        if gain(best, unit) > 0 and has_room(best, unit) and may_leave(unit):
            move(unit, best)
    units_of: dict[int, list[int]] = {}
    for unit in order:
        for label in classes[unit]:
            units_of.setdefault(label, []).append(unit)
    # Units larger than the target of a part were left in train: a class that a part lacks takes the best of them.
    for part in ("val", "test"):
        for label in sorted(wanted[part]):
            if wanted[part][label] and not has[part][label]:
                left = [unit for unit in units_of[label] if part_of[unit] == "train" and may_leave(unit)]
                if left:
                    move(max(left, key=lambda unit: gain(part, unit)), part)
    return Split(
        *(sorted(i for u, unit in enumerate(units) if part_of[u] == part for i in unit) for part in Split._fields)
    )


def folds(labels: Tensor, number: int, *, seed: int, together: Sequence[Sequence[Hashable]] = ()) -> Tensor:
    """Assign each image to a fold so that every fold has its share of each class: int64 (N,), from 0.

    Args:
        labels: int64 (N,), N is 1 or more.
        number: how many folds, 2 or more; fewer are made if there are fewer groups of images to keep together.
        seed: decides which images go where.
        together: sequences of N keys (groups, contents). Images with an equal key in any of them share a fold.

    >>> import torch
    >>> folds(torch.arange(8) % 2, 4, seed=0).bincount().tolist()
    [2, 2, 2, 2]
    """
    import torch

    answers: list[int] = labels.tolist()
    units = units_together(len(answers), together)
    number = min(number, len(units))
    order = shuffled(len(units), seed=seed).tolist()
    has = [Counter[int]() for _ in range(number)]
    size = [0] * number
    fold_of = torch.empty(len(answers), dtype=torch.int64)
    for unit in sorted(order, key=lambda unit: -len(units[unit])):  # large units first, while all folds have room
        classes = Counter(answers[i] for i in units[unit])
        fullness = [(sum(has[f][label] * n for label, n in classes.items()), size[f]) for f in range(number)]
        fold = fullness.index(min(fullness))
        has[fold].update(classes)
        size[fold] += len(units[unit])
        fold_of[units[unit]] = fold
    return fold_of


def _shares(count: int, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """How many of `count` images of a class go to validation and to testing."""
    val = min(max(1, round(count * val_fraction)), count - 1) if val_fraction else 0
    test = min(max(1, round(count * test_fraction)), count - 1 - val) if test_fraction else 0
    return val, test


def units_together(count: int, together: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Return the indices 0..count-1 in lists of those that share a key, directly or through others.

    Args:
        count: the number of images.
        together: sequences of `count` keys.

    >>> units_together(4, [["a", "b", "a", "c"]])
    [[0, 2], [1], [3]]
    """
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for keys in together:
        first: dict[Hashable, int] = {}
        for i, key in enumerate(keys):
            parent[root(i)] = root(first.setdefault(key, i))
    units: dict[int, list[int]] = {}
    for i in range(count):
        units.setdefault(root(i), []).append(i)
    return list(units.values())


def balanced_sample(labels: Tensor, most: int) -> Tensor:
    """Return a sample in which each class has as many images as there are, or all of its own: ascending indices, int64.

    The sample of the same labels is always the same.

    Args:
        labels: the classes of all images, int64 (N,).
        most: how many images the sample has at most, 1 or more.
    """
    import torch

    order = torch.from_numpy(shuffled(len(labels), seed=0))
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[labels[by_class]]
    place = torch.arange(len(labels)) - starts  # of an image within its class
    return by_class[place.argsort(stable=True)[:most]].sort().values
