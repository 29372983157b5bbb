"""What is measured: pure functions from logits and labels to numbers. No files, no models, no randomness.

Throughout, `logits` is float (N, K), `labels` and `predicted` are int64 (N,) in 0..K-1, and N >= 1. Of equal scores the
lower class index comes first, so that every number here is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class ClassScores(NamedTuple):
    """One class: precision, recall and F1 in 0..1 (0 where undefined), and how many images truly are of it."""

    precision: float
    recall: float
    f1: float
    support: int


class Interval(NamedTuple):
    """Both ends included."""

    low: float
    high: float


class Bin(NamedTuple):
    """The images whose best score lies in (low, high]: how many, their mean score and share that is right.

    `confidence` and `accuracy` are 0 in an empty bin.
    """

    low: float
    high: float
    size: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far scores can be taken for chances of being right.

    `ece` is the expected calibration error, the mean over images of |accuracy - confidence| of their bin, in 0..1
    (Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3). `gap` is mean score minus accuracy: above 0
    the classifier is overconfident.
    """

    ece: float
    gap: float
    bins: tuple[Bin, ...]


def ranking(logits: Tensor, k: int) -> Tensor:
    """The `k` best classes of each row (all of them where K < k), best first: int64 (N, min(k, K))."""
    return logits.sort(dim=1, descending=True, stable=True).indices[:, :k]


def topk_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """The share of images, in 0..1, whose label is among the `k` best scores.

    >>> topk_accuracy(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]), torch.tensor([1, 2]), k=1)
    0.5
    """
    return (ranking(logits, k) == labels[:, None]).any(dim=1).double().mean().item()


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The mean over the classes that have images of the share of them, in 0..1, whose best score is their label's.

    >>> balanced_accuracy(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), torch.tensor([0, 0, 1]))
    0.5
    """
    confusion = confusion_matrix(labels, ranking(logits, 1)[:, 0], logits.shape[1])
    recalls = [scores.recall for scores in class_scores(confusion) if scores.support]
    return sum(recalls) / len(recalls)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """The mean of -ln(probability given to the label), in nats: ln(K) for a classifier that knows nothing."""
    return torch.nn.functional.cross_entropy(logits.double(), labels).item()


def confusion_matrix(labels: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Counts, int64 (K, K): row = true class, column = predicted class."""
    return torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def class_scores(confusion: Tensor) -> list[ClassScores]:
    """Precision, recall, F1 and support of every class, from a confusion matrix (K, K).

    A ratio without a case is 0: the precision of a class that was never predicted, the recall of one that has no
    images. That is scikit-learn's `zero_division=0`.
    """
    right = confusion.diagonal().double()
    actual, predicted = confusion.sum(dim=1), confusion.sum(dim=0)
    precision = right / predicted.clamp(min=1)
    recall = right / actual.clamp(min=1)
    f1 = 2 * right / (actual + predicted).clamp(min=1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), actual.tolist())
    return [ClassScores(*row) for row in zip(*columns, strict=True)]


def calibration(logits: Tensor, labels: Tensor, *, num_bins: int = 15) -> Calibration:
    """Reliability in `num_bins` bins of equal width over the best softmax score, and the expected calibration error."""
    probabilities = logits.double().softmax(dim=1)
    predicted = ranking(logits, 1)
    confidence = probabilities.gather(1, predicted)[:, 0].clamp(max=1.0)
    right = (predicted[:, 0] == labels).double()
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    of_bin = torch.bucketize(confidence, edges[1:-1])
    counts = torch.bincount(of_bin, minlength=num_bins)
    some = counts.clamp(min=1)
    mean_confidence = torch.bincount(of_bin, confidence, minlength=num_bins) / some
    accuracy = torch.bincount(of_bin, right, minlength=num_bins) / some
    columns = (edges[:-1], edges[1:], counts, mean_confidence, accuracy)
    return Calibration(
        ece=((accuracy - mean_confidence).abs() * counts).sum().item() / len(labels),
        gap=(confidence.mean() - right.mean()).item(),
        bins=tuple(Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)),
    )


def bootstrap_interval(right: int, total: int, *, level: float = 0.95) -> Interval:
    """The percentile bootstrap interval of an accuracy of `right` in `total`, both ends in 0..1.

    The number right in a resample of `total` images is binomial, so the percentiles are computed exactly instead of
    drawn. Where all or none are right every resample is alike and the bootstrap says nothing; there the open end is
    the exact binomial one (Clopper-Pearson): 36 right of 36 gives 90.3 % to 100 %.

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
