"""Where a bundle looks, without gradients: patches are covered in turn, and the class's score falls (Zeiler 2014)."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from classicnets.errors import unknown_name
from classicnets.images import image_size
from classicnets.scorer import Scorer
from classicnets.serving.limits import check_pixels

_PATCHES = 5  # along a side, without their overlap
_SHOWN = 1024  # pixels along the longer side of the picture that the map is placed on
_AT_A_TIME = 27


def occlusion(scorer: Scorer, content: bytes, label: str | None) -> dict[str, Any]:
    """Return a map with the keys of `Explanation.to_dict` that the page reads, and `heat`.

    Patches are a fifth of a side and overlap by half; each place gets the mean of the patches that cover it.

    Args:
        scorer: any classifier; 81 images go through it.
        content: an image file.
        label: the class; None is the best one.

    Raises BadImage, and UnknownName for a class that does not exist.
    """
    card = scorer.card
    if label is not None and label not in card.classes:
        raise unknown_name("class", label, card.classes, next_step="GET /v1/models lists the classes.")
    check_pixels(content, name="image 0")
    pixels = card.preprocess.read(content, name="image 0")
    scores = card.probabilities(np.asarray(scorer.logits(pixels[None])))[0]
    index = int(scores.argmax()) if label is None else card.classes.index(label)
    positive = _falls(scorer, pixels, index).clip(min=0)
    height, width = image_size(content, name="image 0")
    scale = min(1.0, _SHOWN / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    is_empty = not bool(positive.any())
    return {
        "class": card.classes[index],
        "score": float(scores[index]),
        "empty": is_empty,
        "finding": "Empty map: nothing in the image speaks for this class." if is_empty else "No verdict.",
        "window": card.preprocess.window(*size)._asdict(),
        "picture_size": list(size),
        "heat": (positive / (positive.max() or 1.0)).tolist(),
    }


def _falls(scorer: Scorer, pixels: np.ndarray, index: int) -> np.ndarray:
    """By how much the logit of a class falls if a place is covered with the mean colour: float (10, 10) or smaller."""
    channels, *sides = pixels.shape
    mean = np.round(255 * np.array(scorer.card.preprocess.mean)).astype(np.uint8).reshape(channels, 1, 1)
    rows, columns = (_patches(side) for side in sides)
    covered = np.repeat(pixels[None], len(rows) * len(columns), axis=0)
    for image, (down, across) in zip(covered, product(rows, columns), strict=True):
        image[:, down, across] = mean
    whole = np.asarray(scorer.logits(pixels[None]))[0, index]
    falls = whole - np.asarray(scorer.logits(covered, batch_size=_AT_A_TIME))[:, index]
    total, times = np.zeros(sides), np.zeros(sides)
    for fall, (down, across) in zip(falls, product(rows, columns), strict=True):
        total[down, across] += fall
        times[down, across] += 1
    cells = np.ix_(*(_centres(side) for side in sides))
    values: np.ndarray = (total / times)[cells]
    return values


def _patches(side: int) -> list[slice]:
    """The patches along a side, which overlap by half."""
    length = max(1, round(side / _PATCHES))
    starts = np.unique(np.linspace(0, side - length, 2 * _PATCHES - 1).round().astype(int))
    return [slice(start, start + length) for start in starts.tolist()]


def _centres(side: int) -> np.ndarray:
    """Pixels in the middle of equal cells, two for each patch."""
    cells = min(side, 2 * _PATCHES)
    return ((np.arange(cells) + 0.5) * side / cells).astype(int)
