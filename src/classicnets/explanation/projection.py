"""Features of many dimensions as places on a plane: `project`."""

from __future__ import annotations

import numpy as np

MOST_PLACED = 2_000
"""t-SNE takes seconds for this many images, and minutes for many more."""

_FEWEST = 5  # images for t-SNE: below, it has no neighbourhoods to keep
_PERPLEXITY = 30.0  # as van der Maaten and Hinton 2008 advise: 5 to 50
_KEPT = 50  # dimensions that t-SNE starts from (ibid., Sec. 4.1)


def project(features: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Return places on a plane by the name of the method: "pca", and "t-sne" if there are 5 different images or more.

    PCA keeps distances as well as a plane can; the axes are the two directions in which the features vary most. t-SNE
    keeps neighbours together, and neither distances between groups nor the size of groups mean anything.

    Args:
        features: float32 (N, D), N and D 1 or more, finite.
        seed: decides t-SNE's random numbers.

    Returns method -> float64 (N, 2).

    >>> sorted(project(np.random.default_rng(0).normal(size=(40, 8))))  # doctest: +SKIP
    ['pca', 't-sne']
    """
    scores = _principal(features, seed)
    planes = {"pca": scores[:, :2]}
    if len(np.unique(features, axis=0)) >= _FEWEST:
        from sklearn.manifold import TSNE

        perplexity = min(_PERPLEXITY, (len(scores) - 1) / 3)
        spread = scores / scores[:, 0].std()
        planes["t-sne"] = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(spread)
    return {name: places.astype(np.float64) for name, places in planes.items()}


def _principal(features: np.ndarray, seed: int) -> np.ndarray:
    """The principal components of the features, (N, 2 to 50), the one with the greatest variance first.

    Components that so few images or features do not have are 0.
    """
    from sklearn.decomposition import PCA

    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    number = min(_KEPT, len(centred) - 1, centred.shape[1])
    if number < 1 or not centred.any():
        return np.zeros((len(centred), 2))
    scores = PCA(number, random_state=seed).fit_transform(centred)
    return np.pad(scores, ((0, 0), (0, max(0, 2 - number))))
