"""Augmentation as batched tensor work: one gather or one resampling for a whole batch, nothing per image.

uint8 (B, C, H, W) -> crop, flip, rotation -> colour -> erasing -> (B, C, *size), values still 0..255
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

DRAWS = 10
"""How many uniform numbers `augment` takes for each sample."""


class Augment(BaseModel):
    """What may happen to a training image. The default changes nothing.

    `crop`: "pad" shifts by up to `padding` pixels, the rest filled with the edge's pixels; "resized" takes a
    rectangle of a share `scale` of the area and an aspect within `ratio`, and resizes it (Szegedy et al. 2014).
    `rotate`: up to this many degrees either way. `jitter`: brightness and contrast change by up to this share.
    `flip`: mirrored left to right for half of the samples. `erase`: the side of a square, as a share of the image's,
    that is set to the image's mean (DeVries and Taylor 2017); 0 for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    crop: Literal["none", "pad", "resized"] = "none"
    padding: Annotated[int, Field(ge=0, le=64)] = 4
    scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.35, 1.0)
    ratio: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (3 / 4, 4 / 3)
    flip: bool = False
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    erase: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def packing_scale(self) -> float:
        """How much larger than the network's input the images are kept, so that a crop of them loses no detail."""
        return 1.15 if self.crop == "resized" else 1.0


def augment(images: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """Change each image by its own `draws` (B, DRAWS) from [0, 1): uint8 (B, C, H, W) -> (B, C, *size), 0..255."""
    if config.crop == "resized" or config.rotate:
        images = _resample(images, draws[:, :6], config, size)
    else:
        images = _shift(images, draws[:, :3], config)
    if config.jitter:
        images = _jitter(images, draws[:, 6:8], config.jitter)
    if config.erase:
        images = _erase(images, draws[:, 8:10], config.erase)
    return images


def _shift(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Shift by whole pixels and mirror, in one gather that stays uint8."""
    n, _, height, width = images.shape
    reach = config.padding if config.crop == "pad" else 0
    if not reach and not config.flip:
        return images
    shift = (draws[:, :2] * (2 * reach + 1)).long() - reach
    rows = (torch.arange(height) + shift[:, :1]).clamp_(0, height - 1)
    columns = (torch.arange(width) + shift[:, 1:2]).clamp_(0, width - 1)
    if config.flip:
        columns = torch.where(draws[:, 2:3] < 0.5, columns.flip(1), columns)
    batch = torch.arange(n)[:, None, None]
    return images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _resample(images: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """Crop, stretch, rotate and mirror, in one bilinear resampling."""
    n, channels = images.shape[:2]
    if config.crop == "resized":
        area = config.scale[0] + draws[:, 0] * (config.scale[1] - config.scale[0])
        low, high = math.log(config.ratio[0]), math.log(config.ratio[1])
        aspect = torch.exp(low + draws[:, 1] * (high - low))
        half_width = (area * aspect).sqrt().clamp_(max=1)
        half_height = (area / aspect).sqrt().clamp_(max=1)
    else:
        half_width = half_height = torch.ones(n)
    reach = 2 * config.padding / images.shape[-1] if config.crop == "pad" else 0.0
    centre_x = (2 * draws[:, 2] - 1) * (1 - half_width + reach)
    centre_y = (2 * draws[:, 3] - 1) * (1 - half_height + reach)
    angle = (2 * draws[:, 4] - 1) * math.radians(config.rotate)
    mirror = torch.where(draws[:, 5] < 0.5, -1.0, 1.0) if config.flip else torch.ones(n)
    cos, sin = angle.cos(), angle.sin()
    # Each output position (x, y) in -1..1 is read at theta @ (x, y, 1), in the input's own -1..1.
    theta = torch.stack(
        (
            torch.stack((half_width * cos * mirror, -half_width * sin, centre_x), 1),
            torch.stack((half_height * sin * mirror, half_height * cos, centre_y), 1),
        ),
        1,
    )
    grid = F.affine_grid(theta, [n, channels, *size], align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def _jitter(images: Tensor, draws: Tensor, amount: float) -> Tensor:
    """Scale the contrast about the image's mean, then the brightness; the result stays within 0..255."""
    images = images.float()
    contrast, brightness = (1 + (2 * draws - 1) * amount).view(-1, 2, 1, 1, 1).unbind(1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean).mul_(brightness).clamp_(0, 255)


def _erase(images: Tensor, draws: Tensor, share: float) -> Tensor:
    """Set a square to the image's mean; its centre is anywhere, so that it may reach over the edge."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height) - draws[:, :1] * height).abs() < share * height / 2
    columns = (torch.arange(width) - draws[:, 1:2] * width).abs() < share * width / 2
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    mean = images.float().mean((1, 2, 3), keepdim=True).to(images.dtype)
    return torch.where(inside, mean, images)
