"""Random crops of whole pictures, each read from its own picture and resized with antialiasing.

boxes: draws -> a rectangle of each picture. cropped: rectangles -> uint8 (B, C, *size), mirrored, rotated if asked for.

`crop = "resized"` draws a share of the picture's area and an aspect (Szegedy et al. 2014); `crop = "jitter"` draws the
length of the picture's shorter side, then a place (Simonyan and Zisserman 2014, He et al. 2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.data.pipeline import random
from classicnets.data.pipeline.augment import Augment, angles, area_and_aspect, mirrors
from classicnets.data.pipeline.grid import affine_grid

_TRIES = 10  # as torchvision's RandomResizedCrop
_DRAWS = 2 * _TRIES + 2
_STREAM = 3


def draw(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Draw the numbers in [0, 1) that `boxes` needs for each sample: int64 (B,) -> float32 (B, draws)."""
    return random.uniform(seed, epoch, indices, _DRAWS, stream=_STREAM)


def boxes(sizes: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """Choose a rectangle in each picture, by its own draws: int64 (B, 4) of top, left, height and width in pixels.

    Args:
        sizes: int64 (B, 2), height and width of each picture.
        draws: float32 (B, draws), made by `draw`.
        config: its `crop` is "resized" or "jitter".
        size: (height, width) that the crops are resized to.
    """
    sides = _resized(sizes, draws, config) if config.crop == "resized" else _jittered(sizes, draws, config, size)
    places = (draws[:, -2:].double() * (sizes - sides + 1)).long()
    return torch.cat((places, sides), 1)


def cropped(pictures: Sequence[Tensor], boxes: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """Cut out the rectangles and resize them: uint8 (B, C, *size), in channels-last memory.

    Args:
        pictures: B pictures, uint8 (C, H, W), of any size.
        boxes: int64 (B, 4), made by `boxes`.
        draws: float32 (B, draws), made by `augment.draw`; they decide what is mirrored and how far it is rotated.
        config: its `flip` and `rotate`.
        size: (height, width) of the result.
    """
    mirrored: list[bool] = mirrors(draws, config).tolist()
    turns: list[float] = angles(draws, config).tolist()
    places: list[list[int]] = boxes.tolist()
    result = torch.empty((len(pictures), *size, len(pictures[0])), dtype=torch.uint8).permute(0, 3, 1, 2)
    for i, picture in enumerate(pictures):
        crop = _rotated(picture, places[i], turns[i], size) if config.rotate else _cut(picture, places[i], size)
        result[i] = crop.flip(-1) if mirrored[i] else crop
    return result


def _resized(sizes: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """The sides (B, 2) of rectangles with a random area and aspect: the first of ten that fits into the picture.

    If none fits, as in a very long picture, the largest whose aspect is allowed.
    """
    n = len(sizes)
    area, aspect = area_and_aspect(draws[:, : 2 * _TRIES].reshape(-1, 2), config.scale, config.ratio)
    pixels = area.double().view(n, _TRIES) * sizes.prod(1, keepdim=True)
    aspect = aspect.double().view(n, _TRIES)
    tried = torch.stack(((pixels / aspect).sqrt(), (pixels * aspect).sqrt()), 2).round().long()
    fits = ((tried >= 1) & (tried <= sizes[:, None])).all(2)
    is_first = fits & (fits.cumsum(1) == 1)
    chosen = (tried * is_first[:, :, None]).sum(1)
    height, width = sizes.double().unbind(1)
    allowed = (width / height).clamp(*config.ratio)
    largest = torch.stack((torch.minimum(height, width / allowed), torch.minimum(width, height * allowed)), 1)
    return torch.where(fits.any(1, keepdim=True), chosen, largest.round().long().clamp_(min=1))


def _jittered(sizes: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """The sides (B, 2) of a crop of `size`, if the picture's shorter side were resized to a random length."""
    low, high = config.short_side
    times = low + draws[:, :1].double() * (high - low)
    shorter = sizes.amin(1, keepdim=True)
    sides = shorter / times * torch.tensor(size) / min(size)
    return torch.minimum(sides.round().long().clamp_(min=1), sizes)


def _cut(picture: Tensor, box: Sequence[int], size: tuple[int, int]) -> Tensor:
    """The rectangle of the picture, resized: uint8 (C, *size)."""
    top, left, height, width = box
    crop = picture[None, :, top : top + height, left : left + width]
    if (height, width) == size:
        return crop[0]
    # Channels-last is several times as fast, and a crop is a small copy.
    crop = crop.contiguous(memory_format=torch.channels_last)
    return F.interpolate(crop, size=size, mode="bilinear", antialias=True)[0]


def _rotated(picture: Tensor, box: Sequence[int], angle: float, size: tuple[int, int]) -> Tensor:
    """The rectangle, rotated about its centre by `angle` radians, resized: uint8 (C, *size).

    What the rotation needs around the rectangle is taken from the picture; beyond its edge, pixels repeat.
    """
    top, left, height, width = box
    cos, sin = math.cos(angle), math.sin(angle)
    grown = abs(cos) + abs(sin)
    first_row, last_row = _reach(top, height, grown, picture.shape[1])
    first_column, last_column = _reach(left, width, grown, picture.shape[2])
    around = (first_row, first_column, last_row - first_row, last_column - first_column)
    tall, wide = around[2] / height, around[3] / width
    surroundings = _cut(picture, around, (max(1, round(size[0] * tall)), max(1, round(size[1] * wide))))
    # Each output position (x, y) in -1..1 is read at theta @ (x, y, 1), in the surroundings' own -1..1.
    down = (2 * top + height - first_row - last_row) / around[2]
    right = (2 * left + width - first_column - last_column) / around[3]
    theta = torch.tensor([[[cos / wide, -sin / wide, right], [sin / tall, cos / tall, down]]])
    grid = affine_grid(theta, size)
    image = surroundings[None].float()
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)[0].round()


def _reach(start: int, length: int, grown: float, end: int) -> tuple[int, int]:
    """The first and last pixel, within 0 and `end`, of a stretch that has grown about its centre."""
    more = math.ceil(length * (grown - 1) / 2)
    return max(0, start - more), min(end, start + length + more)
