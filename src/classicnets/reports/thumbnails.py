"""Thumbnails of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from classicnets.data.imageset import ImageSet
from classicnets.images import as_array, read_pixels, reduction_to
from classicnets.scorer import Answer

if TYPE_CHECKING:
    from torch import Tensor


def pictures(answers: Iterable[Answer], images: ImageSet, *, side: int) -> list[np.ndarray]:
    """Make RGB thumbnails of the images of some answers: uint8 (3, h, w), the longer side at most `side` pixels.

    A smaller image is enlarged by a whole factor, so that its pixels stay square. Raises BadImage if one of them cannot
    be decoded.
    """
    index = {id: i for i, id in enumerate(images.ids)}
    return [picture(images, index[answer.path], side=side) for answer in answers]


def picture(images: ImageSet, index: int, *, side: int) -> np.ndarray:
    """Make an RGB thumbnail of image number `index`, as `pictures` does. Raises BadImage."""
    return thumbnail(_pixels(images, index, side), side)


def _pixels(images: ImageSet, index: int, side: int) -> np.ndarray | Tensor:
    """Image number `index`; a large JPEG is decoded at a smaller scale, not below twice the thumbnail's."""
    if images.paths is None:
        return images.image(index)
    return read_pixels(
        images.paths[index], name=images.ids[index], reduction=reduction_to(2 * side), bit_depth=images.bit_depth
    )


def thumbnail(image: np.ndarray | Tensor, side: int) -> np.ndarray:
    """Make an RGB thumbnail of an image, uint8 (C, H, W), as `pictures` does."""
    channels, height, width = image.shape
    rows = as_array(image)[: 3 if channels >= 3 else 1].transpose(1, 2, 0)
    longest = max(height, width)
    if longest <= side:
        factor = max(1, side // longest)
        rows = rows.repeat(factor, axis=0).repeat(factor, axis=1)
    else:
        size = [max(1, round(n * side / longest)) for n in (width, height)]
        small = Image.fromarray(np.ascontiguousarray(rows.squeeze(2) if rows.shape[2] == 1 else rows))
        rows = np.asarray(small.resize((size[0], size[1]), Image.Resampling.BILINEAR)).reshape(*size[::-1], -1)
    return np.array(np.broadcast_to(rows, (*rows.shape[:2], 3)).transpose(2, 0, 1), order="C")
