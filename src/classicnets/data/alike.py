"""Find images that are equal, and images that show the same picture saved again, resized or slightly changed.

Each image is reduced to a thumbnail, and the thumbnail to a difference hash (dHash, Krawetz 2013): 64 bits that say
where it gets brighter from left to right. Two thumbnails are compared only if their hashes agree in at least one
quarter, as hashes with at most 3 different bits must, and if their brightness is close.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from classicnets.preprocess import Preprocess

THUMBNAIL = Preprocess(input_size=(16, 18), resize="squash", mean=(0.5,), std=(0.5,))
"""Its `geometry` makes thumbnails, uint8 (N, 1, 16, 18)."""

_MARGIN = 3.0  # grey levels that count as a step: the noise of a plain wall stays below
_MOST_BITS = 3
_MOST_DIFFERENCE = 3.0  # mean absolute difference of two thumbnails, in levels
_NEIGHBOURS = 32


@dataclass(frozen=True)
class Alike:
    """Two or more images that are the same: their ids, the part that each is in, and its label."""

    ids: tuple[str, ...]
    parts: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def crosses(self) -> bool:
        """Whether they lie in different parts, so that results are measured on images that were learned."""
        return len(set(self.parts)) > 1

    @property
    def contradicts(self) -> bool:
        """Whether they have different labels."""
        return len(set(self.labels)) > 1

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        images = zip(self.ids, self.parts, self.labels, strict=True)
        return {
            "images": [{"path": name, "part": part, "label": label} for name, part, label in images],
            "crosses": self.crosses,
            "contradicts": self.contradicts,
        }

    def __str__(self) -> str:
        images = zip(self.ids, self.parts, self.labels, strict=True)
        return " and ".join(f"{name} ({part}, {label})" for name, part, label in images)


class Look(NamedTuple):
    """What is kept of an image: a digest of its bytes, its (height, width), its thumbnail uint8 (1, 16, 18)."""

    digest: bytes
    size: tuple[int, int]
    thumbnail: Tensor


class Place(NamedTuple):
    """The id of an image, its part, and the name of its class."""

    id: str
    part: str
    label: str


class Copies(NamedTuple):
    """Images that are equal byte for byte, and pairs of others that look the same; those across parts come first."""

    equal: list[Alike]
    near: list[Alike]


def find_copies(looks: Sequence[Look], places: Sequence[Place]) -> Copies:
    """Find the copies among N images, each given by its look and its place."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, look in enumerate(looks):
        same[look.digest].append(i)
    equal = [_alike(indices, places) for indices in same.values() if len(indices) > 1]
    single = [indices[0] for indices in same.values()]
    pairs = near_pairs(torch.stack([looks[i].thumbnail for i in single])) if single else []
    near = [_alike((single[i], single[j]), places) for i, j in pairs]
    return Copies(*(sorted(some, key=lambda alike: not alike.crosses) for some in (equal, near)))


def _alike(indices: Sequence[int], places: Sequence[Place]) -> Alike:
    ids, parts, labels = zip(*(places[i] for i in indices), strict=True)
    return Alike(ids, parts, labels)


def near_pairs(thumbnails: Tensor) -> list[tuple[int, int]]:
    """Find near-identical pictures among thumbnails, uint8 (N, 1, 16, 18): the pairs (i, j), i < j, in order.

    The work grows as N log N: in each quarter an image is compared with the next 32 in order of brightness.
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
    """Return the pairs whose hashes and thumbnails are close: int64 (M, 2), smaller index first."""
    few = (hashes[left] != hashes[right]).sum(axis=1) <= _MOST_BITS
    left, right = left[few], right[few]
    difference = np.abs(flat[left] - flat[right]).mean(axis=1)
    close = difference <= _MOST_DIFFERENCE
    return np.sort(np.stack((left[close], right[close]), axis=1), axis=1)
