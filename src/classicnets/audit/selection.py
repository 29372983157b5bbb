"""Which images to label next: uncertain ones, and of each kind only a few.

    the likeliest classes -> gradients that a label would cause in the head -> k-means++ on them

This is BADGE (Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", Sec. 3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.audit.head import Head

_CLASSES = 20  # the likeliest classes of each image; the gradients of the others are almost 0
_ROWS = 2_000_000  # probabilities that are computed at a time: with many classes, few images


class Likeliest(NamedTuple):
    """The likeliest classes of N images, best first: their probabilities and indices, (N, k) each."""

    probabilities: Tensor
    classes: Tensor

    @property
    def margins(self) -> Tensor:
        """How much likelier the best class is than the second: float32 (N,), in 0..1."""
        return self.probabilities[:, 0] - self.probabilities[:, 1]


def likeliest(head: Head, features: Tensor) -> Likeliest:
    """Ask a head for the likeliest 20 classes of each image; `features` are float32 (N, D)."""
    k = min(_CLASSES, len(head.bias))
    parts = [head.probabilities(rows).topk(k, dim=1) for rows in features.split(max(1, _ROWS // len(head.bias)))]
    return Likeliest(torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts]))


def select(features: Tensor, guesses: Likeliest, count: int, *, seed: int = 0) -> Tensor:
    """Choose images whose labels would change a linear head most, each in another direction.

    The gradient of the loss in the head's weights, if the likeliest class were the label, is the outer product of an
    image's features and of (probabilities - one-hot). Its length says how unsure the head is. k-means++ takes an image
    with a chance that grows with the squared distance of its gradient to those taken before, so each next image is
    unsure and unlike the others.

    Args:
        features: float32 (N, D), standardised.
        guesses: the likeliest classes of each image.
        count: how many to choose, 1 or more; at most N are chosen.
        seed: decides the draws.

    Returns int64 (count,), in the order in which they were taken: the first has the longest gradient.

    >>> guesses = Likeliest(torch.full((3, 2), 0.5), torch.tensor([[0, 1]] * 3))
    >>> sorted(select(torch.eye(3), guesses, 3).tolist())
    [0, 1, 2]
    """
    random = torch.Generator().manual_seed(seed)
    errors, classes = guesses.probabilities.clone(), guesses.classes
    errors[:, 0] -= 1
    lengths = errors.square().sum(dim=1) * features.square().sum(dim=1)
    of_class = torch.zeros(int(classes.max()) + 1)
    nearest = lengths.clone()  # the squared distance of each gradient to the nearest that was taken
    is_left = torch.ones(len(features), dtype=torch.bool)
    chosen: list[int] = []
    for _ in range(min(count, len(features))):
        if not chosen:
            place = int(lengths.argmax())
        elif nearest.sum() > 0:
            place = int(torch.multinomial(nearest, 1, generator=random))
        else:  # all that is left is certain, or a copy of what was taken
            place = int(is_left.nonzero()[0])
        chosen.append(place)
        is_left[place] = False
        of_class.zero_()[classes[place]] = errors[place]
        products = (errors * of_class[classes]).sum(dim=1) * (features @ features[place])
        nearest = nearest.minimum((lengths + lengths[place] - 2 * products).clamp(min=0)) * is_left
    return torch.tensor(chosen, dtype=torch.int64)
