"""Thumbnails of images."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn.functional import interpolate

from classicnets.data.imageset import ImageSet
from classicnets.images import read_image, reduction_to
from classicnets.scorer import Answer


def pictures(answers: Iterable[Answer], images: ImageSet, *, side: int) -> list[Tensor]:
    """Make RGB thumbnails of the images of some answers: uint8 (3, h, w), the longer side at most `side` pixels.

    A smaller image is enlarged by a whole factor, so that its pixels stay square. Raises BadImage if one of them cannot
    be decoded.
    """
    index = {id: i for i, id in enumerate(images.ids)}
    return [picture(images, index[answer.path], side=side) for answer in answers]


def picture(images: ImageSet, index: int, *, side: int) -> Tensor:
    """Make an RGB thumbnail of image number `index`, as `pictures` does. Raises BadImage."""
    return thumbnail(_pixels(images, index, side), side)


def _pixels(images: ImageSet, index: int, side: int) -> Tensor:
    """Image number `index`; a large JPEG is decoded at a smaller scale, not below twice the thumbnail's."""
    if images.paths is None:
        return images.image(index)
    return read_image(
        images.paths[index], name=images.ids[index], reduction=reduction_to(2 * side), bit_depth=images.bit_depth
    )


def thumbnail(image: Tensor, side: int) -> Tensor:
    """Make an RGB thumbnail of an image, uint8 (C, H, W), as `pictures` does."""
    rgb = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    longest = max(rgb.shape[1:])
    if longest <= side:
        factor = max(1, side // longest)
        return rgb.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    height, width = (max(1, round(n * side / longest)) for n in rgb.shape[1:])
    return interpolate(rgb[None], (height, width), mode="bilinear", antialias=True)[0]
