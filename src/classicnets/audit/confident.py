"""Confident learning: find wrong labels from out-of-fold probabilities (Northcutt et al. 2021, arXiv:1911.00068).

A class's threshold is the mean probability that its own images get. An image belongs confidently to the most probable of
the classes whose thresholds it reaches. Images that belong confidently to another class than their label are suspects.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Confident(NamedTuple):
    """What confident learning says of N images.

    Attributes:
        proposed: the class that an image belongs to, int64 (N,): for a suspect the confident one, for others their label.
        score: how sure it is that the label is wrong, float32 (N,), 0..1; it ranks images that are no suspects too.
        suspects: indices of the suspects, int64 (M,), the surest first.
        expected_wrong: the estimated number of wrong labels: the off-diagonal of the confident joint, with each row
            scaled to the number of images with that label (Sec. 3.1).
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
    number, num_classes = probabilities.shape
    images = labels.bincount(minlength=num_classes)
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    thresholds = torch.zeros(num_classes).index_add_(0, labels, own) / images.clamp(min=1)
    thresholds[images == 0] = 2.0  # no image has the label, so it is never proposed
    best = torch.where(probabilities >= thresholds, probabilities, -1.0).max(dim=1)
    is_confident = best.values >= 0
    proposed = torch.where(is_confident, best.indices, labels)
    is_suspect = proposed != labels
    if judged is not None:
        is_suspect &= judged
    proposed = torch.where(is_suspect, proposed, labels)
    score = wrongness(probabilities, labels)
    suspects = is_suspect.nonzero().flatten()
    suspects = suspects[score[suspects].argsort(descending=True, stable=True)]
    agreeing = torch.bincount(labels[is_confident & ~is_suspect], minlength=num_classes)
    differing = torch.bincount(labels[is_suspect], minlength=num_classes)
    share = differing / (agreeing + differing).clamp(min=1)
    return Confident(proposed, score, suspects, float((share * images).sum()))


def wrongness(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return how sure it is that a label is wrong, float32 (N,), 0..1, from the margin of the given label.

    The margin is the given label's probability minus the largest of the others, -1..1; 1 means that the model is
    certain of another class.
    """
    others = probabilities.scatter(1, labels[:, None], -1.0).max(dim=1).values
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    return (1 - (own - others)) / 2
