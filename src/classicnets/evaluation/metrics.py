"""The metrics: pure functions from logits and labels to numbers. No files, no models, no randomness, no PyTorch.

Everywhere `logits` is float (N, K), `labels` and `predicted` are int64 (N,) in 0..K-1, and N is 1 or more: arrays, or
tensors on any device. Of equal scores the lower class index comes first, so every number here is the same on every
machine. Time is linear in N * K; memory beyond the logits is linear in N and K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.evaluation.confusion import ConfusionMatrix, Ints
from classicnets.images import as_array
from classicnets.scorer import Values

Floats = NDArray[np.floating[Any]]


class ClassScores(NamedTuple):
    """One class: precision, recall and F1 in 0..1 (0 if undefined), and `support`, the number of its images."""

    precision: float
    recall: float
    f1: float
    support: int


class Interval(NamedTuple):
    """An interval, both ends included."""

    low: float
    high: float


class Bin(NamedTuple):
    """The images whose best score is in (low, high]: their number, mean score, and the share that is right.

    `confidence` and `accuracy` are in 0..1, and 0 in an empty bin.
    """

    low: float
    high: float
    size: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far scores can be taken for chances of being right.

    Attributes:
        ece: the expected calibration error, in 0..1: the mean over the images of |accuracy - confidence| of their bin
            (Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3).
        gap: the mean score minus the accuracy, in -1..1. Above 0 the classifier is overconfident.
        bins: the bins, from the lowest scores to the highest.
    """

    ece: float
    gap: float
    bins: tuple[Bin, ...]


def ranking(logits: Values, k: int) -> Ints:
    """The `k` best classes of each image, best first: int64 (N, min(k, K)). `k` is 1 or more.

    >>> ranking(np.array([[0.1, 0.7, 0.7], [0.5, 0.2, 0.3]]), 2).tolist()
    [[1, 2], [0, 2]]
    """
    return np.concatenate([_ranking(rows, k) for rows in _chunks(as_array(logits))])


def probabilities(logits: Values, classes: Ints) -> Floats:
    """The softmax probabilities of some classes of each image, float64 (N, k); `classes` are their indices (N, k)."""
    values = as_array(logits)
    chunks = zip(_chunks(values), _chunks(values, classes), strict=True)
    return np.concatenate([np.exp(_log_softmax(rows, wanted)) for rows, wanted in chunks])


def topk_accuracy(logits: Values, labels: Values, k: int = 1) -> float:
    """The share of images, in 0..1, whose label is among the `k` classes with the best scores; `k` is 1 or more.

    >>> topk_accuracy(np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]), np.array([1, 2]), k=1)
    0.5
    """
    return share_within(ranking(logits, k), labels)


def share_within(ranked: Ints, labels: Values) -> float:
    """The share of images, in 0..1, whose label is among the classes `ranked`, int64 (N, k), for them."""
    return float((ranked == as_array(labels)[:, None]).any(axis=1).mean())


def balanced_accuracy(logits: Values, labels: Values) -> float:
    """The mean recall, in 0..1, of the classes that have images: every class counts the same, however few its images.

    >>> balanced_accuracy(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), np.array([0, 0, 1]))
    0.5
    """
    confusion = confusion_matrix(labels, ranking(logits, 1)[:, 0], logits.shape[1])
    recalls = [scores.recall for scores in class_scores(confusion) if scores.support]
    return sum(recalls) / len(recalls)


def cross_entropy(logits: Values, labels: Values) -> float:
    """The mean of -ln(probability of the label), in nats: ln(K) if all classes have the same probability."""
    values, truth = as_array(logits), as_array(labels)[:, None]
    chunks = zip(_chunks(values), _chunks(values, truth), strict=True)
    return -sum(float(_log_softmax(rows, some).sum()) for rows, some in chunks) / len(truth)


def confusion_matrix(labels: Values, predicted: Values, num_classes: int) -> ConfusionMatrix:
    """Count the images by true class (row) and predicted class (column). Time and memory are linear in N."""
    return ConfusionMatrix.of(labels, predicted, num_classes)


def class_scores(confusion: ConfusionMatrix) -> list[ClassScores]:
    """Precision, recall, F1 and support of every class, in the order of the classes.

    A ratio with a denominator of 0 is 0: the precision of a class that was never predicted, the recall of one that has
    no images. scikit-learn calls this `zero_division=0`.
    """
    right, actual, predicted = confusion.right, confusion.actual, confusion.answered
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(actual, 1)
    f1 = 2 * right / np.maximum(actual + predicted, 1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), actual.tolist())
    return [ClassScores(*row) for row in zip(*columns, strict=True)]


def calibration(logits: Values, labels: Values, *, num_bins: int = 15) -> Calibration:
    """How far the best softmax score of each image can be taken for its chance of being right.

    Args:
        logits: float (N, K).
        labels: int64 (N,).
        num_bins: how many bins of equal width the scores 0..1 are divided into, 1 or more.
    """
    best = ranking(logits, 1)
    right = best[:, 0] == as_array(labels)
    return calibration_of(probabilities(logits, best)[:, 0], right, num_bins=num_bins)


def calibration_of(confidence: Floats, right: NDArray[np.bool_], *, num_bins: int = 15) -> Calibration:
    """`calibration` of given scores: float64 (N,) in 0..1, and whether each answer is right: bool (N,)."""
    confidence = np.minimum(confidence, 1.0)
    edges = np.linspace(0, 1, num_bins + 1)
    of_bin = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(of_bin, minlength=num_bins)
    some = np.maximum(counts, 1)
    mean_confidence = np.bincount(of_bin, confidence, minlength=num_bins) / some
    accuracy = np.bincount(of_bin, right, minlength=num_bins) / some
    columns = (edges[:-1], edges[1:], counts, mean_confidence, accuracy)
    return Calibration(
        ece=float((abs(accuracy - mean_confidence) * counts).sum()) / len(right),
        gap=float(confidence.mean() - right.mean()),
        bins=tuple(Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)),
    )


def bootstrap_interval(right: int, total: int, *, level: float = 0.95) -> Interval:
    """The percentile bootstrap interval of an accuracy of `right` in `total` images, both ends in 0..1.

    The number of right answers in a resample of `total` images is binomial, so the percentiles are computed exactly
    and not drawn. If all answers or none are right, all resamples are the same and the bootstrap says nothing; the open
    end is then the exact binomial one (Clopper-Pearson): 36 right of 36 gives 90.3 % to 100 %.

    Args:
        right: the number of right answers, 0..total; over several runs, its mean.
        total: the number of images, 1 or more.
        level: the share of resamples that the interval covers, in 0..1.

    >>> bootstrap_interval(9_300, 10_000)
    Interval(low=0.925, high=0.935)
    """
    tail = (1 - level) / 2
    if right in (0, total):
        open_end: float = tail ** (1 / total)
        return Interval(0.0, 1 - open_end) if right == 0 else Interval(open_end, 1.0)
    factorials, share = log_factorials(total), right / total
    k = np.arange(total + 1)
    ways = factorials[total] - factorials - factorials[::-1]
    cumulative = np.exp(ways + k * math.log(share) + (total - k) * math.log1p(-share)).cumsum()
    low, high = np.searchsorted(cumulative, [tail, 1 - tail]).tolist()
    return Interval(low / total, high / total)


@lru_cache(maxsize=4)
def log_factorials(n: int) -> Floats:
    """ln(0!), ln(1!), ..., ln(n!): float64 (n + 1,)."""
    return np.array([math.lgamma(k + 1) for k in range(n + 1)])


def wilson_interval(right: float, total: int, *, level: float = 0.95) -> Interval:
    """The score interval of a share (Wilson 1927, J. American Statistical Association 22:209), both ends in 0..1.

    It holds its level with few images and near 0 and 1 as well.

    Args:
        right: the number of right answers, 0..total; over several runs, its mean.
        total: the number of images, 1 or more.
        level: the chance that the interval holds the true share, in 0..1.

    >>> low, high = wilson_interval(9, 10)
    >>> f"{low:.3f} to {high:.3f}"
    '0.596 to 0.982'
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = right / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    reach = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


# ---- in parts: a set of many classes and many images never has a second table of the size of its logits


_CHUNK = 2**20  # logits at a time: 8 MiB in float64


def _chunks(logits: NDArray[Any], of: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """The rows of `of` (of `logits` if None), as many at a time as have `_CHUNK` logits."""
    rows, values = max(1, _CHUNK // logits.shape[1]), logits if of is None else of
    return (values[start : start + rows] for start in range(0, len(values), rows))


def _log_softmax(logits: Floats, classes: Ints) -> Floats:
    """The logarithms of the probabilities of some classes of each image, float64 (N, k)."""
    with np.errstate(all="ignore"):  # infinite logits give infinite or undefined numbers, as they should
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        found: Floats = np.take_along_axis(shifted, classes, axis=1) - total
        return found


def _ranking(logits: Floats, k: int) -> Ints:
    """Equal scores in order of index: argmax returns the first of equals, NaN counts as the highest."""
    left = np.maximum(logits, np.finfo(logits.dtype).min)  # above -inf, which marks what is taken
    taken = []
    for _ in range(min(k, logits.shape[1])):
        best = left.argmax(axis=1)[:, None]
        np.put_along_axis(left, best, -math.inf, axis=1)
        taken.append(best)
    return np.concatenate(taken, axis=1)
