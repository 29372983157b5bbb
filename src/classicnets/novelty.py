"""How unlike the training images an image is: a score of the network's features, for `Card.novelty`'s threshold.

    features of training images -> their main directions, the classes' means, the spread around them
    features of an image        -> its distance to the nearest class, and what the main directions leave over

It is the distance of a Gaussian for each class, all with the same covariance (Lee et al. 2018, Sec. 2.1), whose
covariance is known in its main directions only and the same in all others (Tipping and Bishop 1999).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from classicnets.errors import WeightsError

_MOST_DIRECTIONS = 64
_LEFT = 4.0  # what the main directions leave over counts less by this: few images know it badly
_FEW = 4  # training images of a class, on average: with fewer, all classes share one mean


@dataclass(frozen=True, eq=False)
class NoveltyScore:
    """Computes novelty scores of features, with tensors only, so that an exported graph can do it too.

    Attributes:
        centre: the mean of the features, float32 (D,); of each, first the square root is taken, and then the length is
            scaled to 1.
        basis: their main directions, orthonormal columns, float32 (D, r).
        whiten: makes the spread around the classes' means the same in all directions, float32 (r, r).
        means: the means of the classes in whitened main directions, float32 (M, r).
        rest: four times the mean square of a direction that the main ones leave over, float32 (); 1 if none is left.
    """

    centre: Tensor
    basis: Tensor
    whiten: Tensor
    means: Tensor
    rest: Tensor

    def __call__(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the novelty scores, float32 (N,), of features float (N, D); higher is less like the training images.

        `logits` (N, K) are taken too, for scores that use them; this one does not.
        """
        centred = _evened(features) - self.centre
        main = centred @ self.basis
        left = (centred.square().sum(dim=1) - main.square().sum(dim=1)).clamp(min=0)
        white = main @ self.whiten
        to_means = self.means.square().sum(dim=1) - 2 * white @ self.means.T  # distances without what all means share
        near = (white.square().sum(dim=1) + to_means.amin(dim=1)).clamp(min=0)
        return (near + left / self.rest).sqrt()

    @classmethod
    def fit(cls, features: Tensor, logits: Tensor, labels: Tensor) -> NoveltyScore:
        """Describe the features of training images.

        Args:
            features: float (N, D), N 2 or more.
            logits: float (N, K).
            labels: int64 (N,) in 0..K-1.
        """
        x = _evened(features.double())
        centre = x.mean(dim=0)
        groups = labels.unique(return_inverse=True)[1]
        if len(labels) < _FEW * (int(groups.max()) + 1):
            groups = torch.zeros_like(groups)
        counts = torch.bincount(groups).double()
        means = torch.zeros(len(counts), x.shape[1], dtype=torch.float64).index_add_(0, groups, x) / counts[:, None]
        n, width = x.shape
        directions = min(_MOST_DIRECTIONS, width, max(1, n // 4))
        basis = _main_directions(x - centre, directions)
        within = x - means[groups]
        main = within @ basis
        covariance, even = main.T @ main / n, torch.eye(directions, dtype=torch.float64)
        spread = covariance.trace() / directions
        share = directions / (n + directions)  # few images know their covariance badly: it is drawn to the same for all
        values, vectors = torch.linalg.eigh((1 - share) * covariance + share * spread * even)
        whiten = vectors / values.clamp(min=1e-6 * float(spread) + 1e-12).sqrt()
        rest = torch.ones((), dtype=torch.float64)
        if directions < width:
            left = (x - centre).square().sum(dim=1) - ((x - centre) @ basis).square().sum(dim=1)
            rest = _LEFT * (left.mean() / (width - directions)).clamp(min=0.01 * float(spread) + 1e-12)
        return cls(
            centre.float(), basis.float(), whiten.float(), ((means - centre) @ basis @ whiten).float(), rest.float()
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return what `of_tensors` takes: five tensors by their names."""
        return dict(vars(self))

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> NoveltyScore:
        """Return the score with these tensors. Raises WeightsError if they do not fit together."""
        try:
            score = cls(**{name: tensor.float() for name, tensor in tensors.items()})
            width, directions = score.basis.shape
            fits = (
                score.centre.shape == (width,)
                and score.whiten.shape == (directions, directions)
                and score.means.shape[1:] == (directions,)
                and score.rest.shape == ()
            )
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise WeightsError("The tensors of the novelty score do not fit together. Get the model folder again.")
        return score


def _evened(features: Tensor) -> Tensor:
    """Square roots, scaled to length 1: features behind a ReLU are skewed, and their length says little."""
    roots = features.sign() * features.abs().sqrt()
    unit: Tensor = roots / roots.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return unit


def _main_directions(centred: Tensor, number: int) -> Tensor:
    """The directions with the largest variance: orthonormal columns (D, number), by the smaller of two products."""
    n, width = centred.shape
    product = centred.T @ centred if width <= n else centred @ centred.T
    vectors: Tensor = torch.linalg.eigh(product).eigenvectors[:, -number:]
    if width > n:
        vectors = torch.linalg.qr(centred.T @ vectors).Q
    return vectors
