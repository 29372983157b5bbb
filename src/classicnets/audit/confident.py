"""Confident learning: find wrong labels from out-of-fold probabilities (Northcutt et al. 2021, arXiv:1911.00068).

A class's threshold is the mean probability that its own images get. Of the classes whose thresholds an image reaches,
it belongs confidently to the most probable one. If that is not its label, the image is a suspect.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NUMBERS = 10_000_000  # probabilities that are looked at at a time


class Confident(NamedTuple):
    """What confident learning says of N images.

    Attributes:
        proposed: the confident class of a suspect, and the label of any other image: int64 (N,).
        score: how unusual the label's probability is for its class: t / (t + p) with the class's threshold t, float32
            (N,), 0..1. 1 means that the label is ruled out, 0.5 that it is as probable as usual. It ranks all images.
        suspects: indices of the suspects, int64 (M,), the surest first.
        expected_wrong: the estimated number of wrong labels: the off-diagonal of the confident joint, with each row
            scaled to the number of images with that label (Sec. 3.1). Models that confuse classes raise it.
    """

    proposed: Tensor
    score: Tensor
    suspects: Tensor
    expected_wrong: float


def confident_learning(probabilities: Tensor, labels: Tensor, *, judged: Tensor | None = None) -> Confident:
    """Find the images whose labels are probably wrong.

    Args:
        probabilities: of each image, by a model that did not learn from it: float32 (N, K), rows that sum to 1.
        labels: the given labels, int64 (N,).
        judged: bool (N,), False for images that are never suspects; None judges all.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
    >>> confident_learning(p, torch.tensor([0, 0, 1, 1, 1])).suspects.tolist()
    [4]
    """
    num_classes = probabilities.shape[1]
    images = labels.bincount(minlength=num_classes)
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    thresholds = torch.zeros(num_classes).index_add_(0, labels, own) / images.clamp(min=1)
    thresholds[images == 0] = 2.0  # a class that no image is labelled as is never proposed
    confident, reached = torch.empty_like(labels), torch.empty_like(own)
    for rows in torch.arange(len(labels)).split(max(1, _NUMBERS // num_classes)):
        some = probabilities[rows]
        best = torch.where(some >= thresholds, some, -1.0).max(dim=1)
        confident[rows], reached[rows] = best.indices, best.values
    counted = reached >= 0 if judged is None else (reached >= 0) & judged
    proposed = torch.where(counted, confident, labels)
    usual = thresholds[labels].clamp(min=1e-12)
    score = usual / (usual + own)
    suspects = (proposed != labels).nonzero().flatten()
    suspects = suspects[score[suspects].argsort(descending=True, stable=True)]
    differing = labels[suspects].bincount(minlength=num_classes)
    share = differing / labels[counted].bincount(minlength=num_classes).clamp(min=1)
    return Confident(proposed, score, suspects, float((share * images).sum()))
