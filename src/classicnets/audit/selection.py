"""Which images to label next: unsure ones, and of each kind only a few.

    margins between the two likeliest classes -> the unsure images -> k-means on their features -> one of each cluster

This is the method of Zhdanov 2019, "Diverse mini-batch Active Learning" (arXiv:1901.05954, Sec. 3). Beside others, it
was chosen by a measurement: `benchmarks/audit_next.py`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.audit.head import Head

_UNSURE = 10  # times as many images as are asked for: those with the smallest margins
_STEPS = 20  # of k-means
_ROWS = 2_000_000  # probabilities that are computed at a time: with many classes, few images


class Likeliest(NamedTuple):
    """The two likeliest classes of N images, the best first: their probabilities and indices, (N, 2) each."""

    probabilities: Tensor
    classes: Tensor

    @property
    def margins(self) -> Tensor:
        """How much likelier the best class is than the second: float32 (N,), in 0..1."""
        return self.probabilities[:, 0] - self.probabilities[:, 1]


def likeliest(head: Head, features: Tensor) -> Likeliest:
    """Ask a head for the two likeliest classes of each image; `features` are float32 (N, D)."""
    parts = [head.probabilities(rows).topk(2, dim=1) for rows in features.split(max(1, _ROWS // len(head.bias)))]
    return Likeliest(torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts]))


def select(features: Tensor, margins: Tensor, count: int, *, seed: int = 0) -> Tensor:
    """Choose images that a head is unsure of, each unlike the others.

    The images with the smallest margins, ten times as many as are asked for, are divided by k-means into `count`
    clusters, in which an unsure image weighs more. The image nearest to each centre is chosen.

    Args:
        features: float32 (N, D), standardised.
        margins: float32 (N,), between the two likeliest classes, in 0..1.
        count: how many to choose, 1 or more; at most N are chosen.
        seed: decides where k-means begins.

    Returns int64 (count,), the smallest margin first.

    >>> select(torch.eye(3), torch.tensor([0.5, 0.1, 0.9]), 3).tolist()
    [1, 0, 2]
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    unsure = margins.argsort(stable=True)[: _UNSURE * count]
    if len(unsure) <= count:
        return unsure
    points = features[unsure]
    weights = (1 - margins[unsure]).clamp(min=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters
        found = KMeans(count, n_init=1, max_iter=_STEPS, random_state=seed).fit(points.numpy(), None, weights.numpy())
    centres, cluster = torch.from_numpy(found.cluster_centers_).float(), torch.from_numpy(found.labels_).long()
    distances = (points - centres[cluster]).norm(dim=1)
    taken: dict[int, int] = {}
    for place in distances.argsort(stable=True).tolist():  # the nearest of each cluster comes first
        taken.setdefault(int(cluster[place]), place)
    chosen = set(taken.values())
    rest = [place for place in range(len(unsure)) if place not in chosen]
    places = sorted([*chosen, *rest[: count - len(chosen)]])  # an empty cluster gives its place to the unsurest
    return unsure[torch.tensor(places)]
