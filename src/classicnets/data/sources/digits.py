"""`digits`: the handwritten digits that scikit-learn contains. UCI ML repository, Alpaydin and Kaynak 1998."""

from __future__ import annotations

import numpy as np

from classicnets.data.sources.given import Given, in_memory


def read_digits() -> Given:
    """Read 1,797 images, uint8 (1, 8, 8), with their 17 grey levels scaled to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return Given("digits", "digits", in_memory(tuple("0123456789"), digits.target, images, ids="digits/{:04}"))
