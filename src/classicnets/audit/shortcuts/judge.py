"""How well a clue predicts the class, measured so that chance is no finding.

Half of the images train a forest and the other half judge it; then the halves change places. Copies of an image, and
images of one group, are in one half. So the answers for a half do not depend on its labels, and a permutation test of
its labels is exact.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from classicnets.audit.shortcuts.clue import Clue
from classicnets.data.split import folds, units_together
from classicnets.evaluation.metrics import Interval, bootstrap_interval

_TREES, _DEPTH = 16, 12
_PERMUTATIONS = 2_999
_RESAMPLES = 1_000
_CHUNK = 2**22  # numbers at a time


class Measured(NamedTuple):
    """What a forest reaches with a clue.

    Attributes:
        accuracy: balanced accuracy on images that the forest has not seen, in 0..1: the mean over the classes.
        interval: of the accuracy, 95 %: bootstrap over images, or over groups.
        p_value: how probable an accuracy so high is if the clue says nothing of the class, in 0..1.
        best: the index of the feature that the forest uses most.
    """

    accuracy: float
    interval: Interval
    p_value: float
    best: int


@dataclass(frozen=True, eq=False)
class Halves:
    """The images in two halves, and the permutations of the labels of each half that are as probable as the labels.

    Attributes:
        kept: which of the given images are among the N here: those whose class is in both halves; bool.
        labels: int64 (N,), 0..K-1.
        units: the indices of images that stay together.
        half: which half each image is in, int64 (N,).
        permuted: for each half, the permuted labels of its images: int32 (permutations, n).
        seed: decides the trees.
    """

    kept: np.ndarray
    labels: np.ndarray
    units: list[list[int]]
    half: np.ndarray
    permuted: tuple[np.ndarray, np.ndarray]
    seed: int

    @property
    def chance(self) -> float:
        """The balanced accuracy of guessing."""
        return 1 / len(np.unique(self.labels))

    @property
    def least_p(self) -> float:
        """The smallest p-value that a perfect clue could have with so few images."""
        ways = [_log_ways(self.labels, [unit for unit in self.units if self.half[unit[0]] == h]) for h in (0, 1)]
        return min(1.0, 2 * max(math.exp(-max(ways)), 1 / (_PERMUTATIONS + 1)))

    def measure(self, clue: Clue) -> Measured:
        """Measure how well a clue of all given images predicts the class."""
        matrix = clue.matrix()[self.kept]
        answers = np.empty_like(self.labels)
        p_values, importance = [], np.zeros(matrix.shape[1])
        for judged in (0, 1):
            learned, asked = self.half != judged, self.half == judged
            forest = RandomForestClassifier(
                _TREES, max_depth=_DEPTH, class_weight="balanced", random_state=self.seed, n_jobs=1
            )
            with warnings.catch_warnings():  # many classes of few images are no mistake here
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                forest.fit(matrix[learned], self.labels[learned])
            answers[asked] = forest.predict(matrix[asked])
            importance += forest.feature_importances_
            p_values.append(_p_value(self.labels[asked], answers[asked], self.permuted[judged]))
        right = answers == self.labels
        return Measured(
            _balanced(right, self.labels),
            _interval(right, self.labels, self.units, self.seed),
            min(1.0, 2 * min(p_values)),
            int(importance.argmax()),
        )


def divide(labels: np.ndarray, together: Sequence[Sequence[Hashable]], seed: int) -> Halves | None:
    """Divide images into halves; None if fewer than two classes have images in both.

    Args:
        labels: int64 (N,).
        together: keys of the images that stay together, as for `data.split`.
        seed: decides the halves, the permutations and the trees.
    """
    half = folds(torch.from_numpy(labels), 2, seed=seed, together=together).numpy()
    in_both = np.intersect1d(labels[half == 0], labels[half == 1])
    if len(in_both) < 2:
        return None
    kept = np.isin(labels, in_both)
    number = {label: i for i, label in enumerate(in_both.tolist())}
    labels, half = np.array([number[label] for label in labels[kept].tolist()], np.int64), half[kept]
    units = units_together(
        len(labels), [[key for key, keep in zip(keys, kept, strict=True) if keep] for keys in together]
    )
    permuted = [_permuted(labels, units, half == h, np.random.default_rng([seed, h])) for h in (0, 1)]
    return Halves(kept, labels, units, half, (permuted[0], permuted[1]), seed)


def _permuted(
    labels: np.ndarray, units: list[list[int]], chosen: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Permutations of the labels of the images `chosen`, in their order.

    Units of one label swap labels with each other as a whole. In a unit of several labels, its images swap theirs.
    """
    place = np.cumsum(chosen) - 1
    own = [np.array(unit) for unit in units if chosen[unit[0]]]
    whole = [unit for unit in own if len(np.unique(labels[unit])) == 1]
    out = np.tile(labels[chosen].astype(np.int32), (_PERMUTATIONS, 1))
    if whole:
        of_units = np.tile(labels[[unit[0] for unit in whole]].astype(np.int32), (_PERMUTATIONS, 1))
        random.permuted(of_units, axis=1, out=of_units)
        out[:, place[np.concatenate(whole)]] = np.repeat(of_units, [len(unit) for unit in whole], axis=1)
    for unit in own:
        if len(np.unique(labels[unit])) > 1:
            out[:, place[unit]] = random.permuted(out[:, place[unit]], axis=1)
    return out


def _p_value(labels: np.ndarray, answers: np.ndarray, permuted: np.ndarray) -> float:
    """The share of labellings, the given one among them, that the answers fit as well or better."""
    weights = 1 / np.bincount(labels)  # each class counts the same
    reached = weights[labels][answers == labels].sum()
    as_good = 1
    for rows in np.array_split(permuted, max(1, permuted.size // _CHUNK)):
        as_good += int(((weights[rows] * (rows == answers)).sum(axis=1) >= reached - 1e-9).sum())
    return as_good / (len(permuted) + 1)


def _balanced(right: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(np.bincount(labels, right) / np.bincount(labels)))


def _interval(right: np.ndarray, labels: np.ndarray, units: list[list[int]], seed: int) -> Interval:
    """The 95 % bootstrap interval of the balanced accuracy: units are drawn with replacement.

    If all answers or none are right, the open end is the exact binomial one over the units.
    """
    if right.all() or not right.any():
        return bootstrap_interval(len(units) if right.all() else 0, len(units))
    of_unit = np.empty(len(labels), np.int64)
    for number, unit in enumerate(units):
        of_unit[unit] = number
    shape = (len(units), int(labels.max()) + 1)
    hits, total = np.zeros(shape), np.zeros(shape)
    np.add.at(hits, (of_unit, labels), right)
    np.add.at(total, (of_unit, labels), 1)
    random = np.random.default_rng([seed, 2])
    drawn = random.multinomial(len(units), np.full(len(units), 1 / len(units)), _RESAMPLES).astype(float)
    sums = drawn @ total
    shares = np.divide(drawn @ hits, sums, out=np.full(sums.shape, np.nan), where=sums > 0)
    low, high = np.quantile(np.nanmean(shares, axis=1), (0.025, 0.975))
    return Interval(float(low), float(high))


def _log_ways(labels: np.ndarray, units: list[list[int]]) -> float:
    """The logarithm of how many labellings the permutations of some units can give."""

    def ways(some: Sequence[int] | np.ndarray) -> float:
        counts = np.unique(some, return_counts=True)[1].tolist()
        return math.lgamma(sum(counts) + 1) - sum(math.lgamma(count + 1) for count in counts)

    mixed = [unit for unit in units if len(np.unique(labels[unit])) > 1]
    whole = [int(labels[unit[0]]) for unit in units if len(np.unique(labels[unit])) == 1]
    return ways(whole) + sum(ways(labels[unit]) for unit in mixed)
