"""The metrics: pure functions from logits and labels to numbers. No files, no models, no randomness.

Everywhere `logits` is float (N, K) on the CPU, `labels` and `predicted` are int64 (N,) in 0..K-1, and N is 1 or more.
Of equal scores the lower class index comes first, so every number here is the same on every machine. Time is linear in
N * K; memory beyond the logits is linear in N and K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.evaluation.confusion import ConfusionMatrix


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


def ranking(logits: Tensor, k: int) -> Tensor:
    """The `k` best classes of each image, best first: int64 (N, min(k, K)). `k` is 1 or more.

    >>> ranking(torch.tensor([[0.1, 0.7, 0.7], [0.5, 0.2, 0.3]]), 2).tolist()
    [[1, 2], [0, 2]]
    """
    return torch.cat([_ranking(rows, k) for rows in _chunks(logits)])


def probabilities(logits: Tensor, classes: Tensor) -> Tensor:
    """The softmax probabilities of some classes of each image, float64 (N, k); `classes` are their indices (N, k)."""
    chunks = zip(_chunks(logits), _chunks(logits, classes), strict=True)
    return torch.cat([rows.double().softmax(dim=1).gather(1, wanted) for rows, wanted in chunks])


def topk_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """The share of images, in 0..1, whose label is among the `k` classes with the best scores; `k` is 1 or more.

    >>> topk_accuracy(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]), torch.tensor([1, 2]), k=1)
    0.5
    """
    return share_within(ranking(logits, k), labels)


def share_within(ranked: Tensor, labels: Tensor) -> float:
    """The share of images, in 0..1, whose label is among the classes `ranked`, int64 (N, k), for them."""
    return (ranked == labels[:, None]).any(dim=1).double().mean().item()


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The mean recall, in 0..1, of the classes that have images: every class counts the same, however few its images.

    >>> balanced_accuracy(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), torch.tensor([0, 0, 1]))
    0.5
    """
    confusion = confusion_matrix(labels, ranking(logits, 1)[:, 0], logits.shape[1])
    recalls = [scores.recall for scores in class_scores(confusion) if scores.support]
    return sum(recalls) / len(recalls)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """The mean of -ln(probability of the label), in nats: ln(K) if all classes have the same probability."""
    chunks = zip(_chunks(logits), _chunks(logits, labels), strict=True)
    return sum(
        torch.nn.functional.cross_entropy(rows.double(), some, reduction="sum").item() for rows, some in chunks
    ) / len(labels)


def confusion_matrix(labels: Tensor, predicted: Tensor, num_classes: int) -> ConfusionMatrix:
    """Count the images by true class (row) and predicted class (column). Time and memory are linear in N."""
    return ConfusionMatrix.of(labels, predicted, num_classes)


def class_scores(confusion: ConfusionMatrix) -> list[ClassScores]:
    """Precision, recall, F1 and support of every class, in the order of the classes.

    A ratio with a denominator of 0 is 0: the precision of a class that was never predicted, the recall of one that has
    no images. scikit-learn calls this `zero_division=0`.
    """
    right, actual, predicted = confusion.right.double(), confusion.actual, confusion.answered
    precision = right / predicted.clamp(min=1)
    recall = right / actual.clamp(min=1)
    f1 = 2 * right / (actual + predicted).clamp(min=1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), actual.tolist())
    return [ClassScores(*row) for row in zip(*columns, strict=True)]


def calibration(logits: Tensor, labels: Tensor, *, num_bins: int = 15) -> Calibration:
    """How far the best softmax score of each image can be taken for its chance of being right.

    Args:
        logits: float (N, K).
        labels: int64 (N,).
        num_bins: how many bins of equal width the scores 0..1 are divided into, 1 or more.
    """
    best = ranking(logits, 1)
    return calibration_of(probabilities(logits, best)[:, 0], best[:, 0] == labels, num_bins=num_bins)


def calibration_of(confidence: Tensor, right: Tensor, *, num_bins: int = 15) -> Calibration:
    """`calibration` of given scores: float64 (N,) in 0..1, and whether each answer is right: bool (N,)."""
    confidence, right = confidence.clamp(max=1.0), right.double()
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    of_bin = torch.bucketize(confidence, edges[1:-1])
    counts = torch.bincount(of_bin, minlength=num_bins)
    some = counts.clamp(min=1)
    mean_confidence = torch.bincount(of_bin, confidence, minlength=num_bins) / some
    accuracy = torch.bincount(of_bin, right, minlength=num_bins) / some
    columns = (edges[:-1], edges[1:], counts, mean_confidence, accuracy)
    return Calibration(
        ece=((accuracy - mean_confidence).abs() * counts).sum().item() / len(right),
        gap=(confidence.mean() - right.mean()).item(),
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
    n, k = torch.tensor(float(total), dtype=torch.float64), torch.arange(total + 1, dtype=torch.float64)
    share = torch.tensor(right / total, dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    cumulative = (ways + k * share.log() + (n - k) * (-share).log1p()).exp().cumsum(dim=0)
    low, high = torch.searchsorted(cumulative, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(low / total, high / total)


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


_CHUNK = 2**22  # logits at a time: 32 MiB in float64


def _chunks(logits: Tensor, of: Tensor | None = None) -> Iterator[Tensor]:
    """The rows of `of` (of `logits` if None), as many at a time as have `_CHUNK` logits."""
    rows = max(1, _CHUNK // logits.shape[1])
    return iter((logits if of is None else of).split(rows))


def _ranking(logits: Tensor, k: int) -> Tensor:
    top = logits.topk(min(k + 1, logits.shape[1]), dim=1)
    indices = top.indices[:, :k]
    equal = (top.values[:, 1:] == top.values[:, :-1]) | top.values[:, 1:].isnan()
    unsure = equal.any(dim=1)  # topk orders equal scores in any way
    if unsure.any():
        indices[unsure] = _stable_ranking(logits[unsure], k)
    return indices


def _stable_ranking(logits: Tensor, k: int) -> Tensor:
    """`_ranking` with equal scores in order of index: argmax returns the first of equals, NaN counts as the highest."""
    left = logits.clamp(min=torch.finfo(logits.dtype).min)  # above -inf, which marks what is taken
    taken = []
    for _ in range(min(k, logits.shape[1])):
        best = left.argmax(dim=1, keepdim=True)
        left.scatter_(1, best, -math.inf)
        taken.append(best)
    return torch.cat(taken, dim=1)
