"""`digits`: the handwritten digits that scikit-learn contains. UCI ML repository, Alpaydin and Kaynak 1998."""

from __future__ import annotations

import torch

from classicnets.data.imageset import ImageSet
from classicnets.data.sources.given import Given


def read_digits() -> Given:
    """Read 1,797 images, uint8 (1, 8, 8), with their 17 grey levels scaled to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images * (255 / 16)).round_().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).to(torch.int64)
    ids = tuple(f"digits/{i:04}" for i in range(len(labels)))
    return Given("digits", "digits", ImageSet(tuple("0123456789"), labels, ids, images=images))
