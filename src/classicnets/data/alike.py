"""Finding images that are the same picture, saved anew, resized or slightly changed: without comparing all with all.

A picture is brought to a thumbnail. From it comes a difference hash (dHash, Krawetz 2013): 64 bits that say where it
gets brighter from left to right. Two thumbnails are compared where their hashes agree in at least one quarter (which
those of a distance up to 3 must) and they are close to one another in brightness.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from classicnets.preprocess import Preprocess

THUMBNAIL = Preprocess(input_size=(16, 18), resize="squash", mean=(0.5,), std=(0.5,))
"""Its `geometry` makes thumbnails, uint8 (N, 1, 16, 18)."""

_MARGIN = 3.0  # levels that a step must have: the noise of a plain wall makes none
_MOST_BITS = 3
_MOST_DIFFERENCE = 3.0  # mean absolute difference of two thumbnails, in levels
_NEIGHBOURS = 32


def near_pairs(thumbnails: Tensor) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, ascending, of near-identical pictures among thumbnails, uint8 (N, 1, 16, 18).

    The work grows with N log N: in each quarter an image is compared with the next 32 in the order of brightness.
    """
    small = torch.nn.functional.avg_pool2d(thumbnails.float(), 2).squeeze(1)  # N x 8 x 9
    hashes = (small[:, :, 1:] - small[:, :, :-1] > _MARGIN).flatten(1).numpy()
    quarters = np.packbits(hashes, axis=1).view(np.uint16)  # N x 4
    brightness = small.mean((1, 2)).numpy()
    flat = thumbnails.flatten(1).numpy().astype(np.int16)
    found = [np.empty((0, 2), np.int64)]
    for quarter in quarters.T:
        order = np.lexsort((brightness, quarter))
        for k in range(1, min(_NEIGHBOURS + 1, len(order))):
            left, right = order[:-k], order[k:]
            same = quarter[left] == quarter[right]
            found.append(_close(hashes, flat, left[same], right[same]))
    pairs = np.unique(np.concatenate(found), axis=0)
    return [(int(i), int(j)) for i, j in pairs]


def _close(hashes: np.ndarray, flat: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the pairs (left, right), int64 (M, 2) those whose hashes and thumbnails are close, the smaller index first."""
    few = (hashes[left] != hashes[right]).sum(axis=1) <= _MOST_BITS
    left, right = left[few], right[few]
    difference = np.abs(flat[left] - flat[right]).mean(axis=1)
    close = difference <= _MOST_DIFFERENCE
    return np.sort(np.stack((left[close], right[close]), axis=1), axis=1)
