"""Augmentation of a whole batch at once: one gather or one resampling, no loop over images.

uint8 (B, C, H, W) -> crop, flip, rotation -> policy -> jitter -> erasing -> (B, C, *size), values still 0..255

`pipeline/mixing.py` mixes two images (`mixup`, `cutmix`) afterwards.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from classicnets.data.pipeline import random
from classicnets.data.pipeline.policy import DRAWS_PER_OPERATION, MAGNITUDES, Policy, apply_policy

_MOST_OPERATIONS = 4
_FIRST = 10  # draws of the first stream; later operations have a stream of their own, so older runs stay as they were

# Which columns of the draws decide what.
_SHIFT, _RESAMPLE, _JITTER, _ERASE = slice(0, 3), slice(0, 6), slice(6, 8), slice(8, 13)
_POLICY = slice(13, None)


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the first end of a range must not be above the second")
    return ends


_PositiveShare = Annotated[float, Field(gt=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]
_Shares = Annotated[tuple[_PositiveShare, _PositiveShare], AfterValidator(_in_order)]
_Ratios = Annotated[tuple[_Positive, _Positive], AfterValidator(_in_order)]
_Beta = Annotated[float, Field(ge=0, le=100)]


class Augment(BaseModel):
    """How training images are augmented. The defaults change nothing.

    Attributes:
        crop: "pad" shifts by up to `padding` pixels and repeats the pixels of the edge; "resized" cuts out a rectangle
            and resizes it (Szegedy et al. 2014); "none" keeps the whole image.
        padding: pixels, 0 to 64.
        scale, ratio: the range of the rectangle's share of the area, and of its aspect (width / height).
        flip: mirror half of the samples left to right.
        rotate: rotate by up to this many degrees either way, 0 to 180.
        jitter: change brightness and contrast by up to this share, 0 to 1.
        policy: "trivial" applies one operation at any magnitude (TrivialAugment's wide space, Müller and Hutter 2021);
            "rand" applies `policy_operations` of them, 1 to 4, at `policy_magnitude`, 0 to 30 (RandAugment, Cubuk et
            al. 2020).
        erase: the share of samples in which a rectangle is set to the image's mean (random erasing, Zhong et al. 2020).
            Its centre may be anywhere, so it may reach over the edge. Cutout (DeVries and Taylor 2017) of half the
            side is `erase` 1, `erase_scale` [0.25, 0.25], `erase_ratio` [1, 1].
        erase_scale, erase_ratio: the range of that rectangle's share of the area, and of its aspect.
        mixup, cutmix: alpha of the Beta(alpha, alpha) distribution of the other image's share (Zhang et al. 2018, Yun
            et al. 2019), 0 to 100; 0 turns it off. With both, each sample gets one of the two. The training accuracy
            counts the label of the image that the other one is mixed into.
        mix_probability: the share of samples that are mixed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    crop: Literal["none", "pad", "resized"] = "none"
    padding: Annotated[int, Field(ge=0, le=64)] = 4
    scale: _Shares = (0.35, 1.0)
    ratio: _Ratios = (3 / 4, 4 / 3)
    flip: bool = False
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    policy: Policy = "none"
    policy_operations: Annotated[int, Field(ge=1, le=_MOST_OPERATIONS)] = 2
    policy_magnitude: Annotated[int, Field(ge=0, lt=MAGNITUDES)] = 9
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    erase_scale: _Shares = (0.02, 0.33)
    erase_ratio: _Ratios = (0.3, 3.3)
    mixup: _Beta = 0.0
    cutmix: _Beta = 0.0
    mix_probability: _PositiveShare = 1.0

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that targets are probabilities."""
        return bool(self.mixup or self.cutmix)

    @property
    def packing_scale(self) -> float:
        """How much larger than the network's input images are packed, so that a crop keeps its detail."""
        return 1.15 if self.crop == "resized" else 1.0


def draw(seed: int, epoch: int, indices: Tensor, config: Augment) -> Tensor:
    """Draw the numbers in [0, 1) that `augment` needs for each sample: int64 (B,) -> float32 (B, draws).

    Numbers that `config` does not need are not drawn; that does not change the others.
    """
    first = random.uniform(seed, epoch, indices, _FIRST)
    if config.policy == "none" and not config.erase:
        return first
    later = 3 + _MOST_OPERATIONS * DRAWS_PER_OPERATION
    return torch.cat((first, random.uniform(seed, epoch, indices, later, stream=1)), 1)


def augment(images: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """Change each image by its own row of `draws`, made by `draw`: uint8 (B, C, H, W) -> (B, C, *size), 0..255."""
    if config.crop == "resized" or config.rotate:
        images = _resample(images, draws[:, _RESAMPLE], config, size)
    else:
        images = _shift(images, draws[:, _SHIFT], config)
    if config.policy != "none":
        rounded = images.round().to(torch.uint8) if images.is_floating_point() else images
        images = apply_policy(
            rounded, draws[:, _POLICY], config.policy, config.policy_operations, config.policy_magnitude
        )
    if config.jitter:
        images = _jitter(images, draws[:, _JITTER], config.jitter)
    if config.erase:
        images = _erase(images, draws[:, _ERASE], config)
    return images


def rectangle(centre: Tensor, sides: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask of a rectangle, bool (B, 1, H, W), from its centre and sides (B, 2) as shares of `size` (H, W)."""
    rows, columns = (
        (torch.arange(side) - centre[:, i : i + 1] * side).abs() < sides[:, i : i + 1] * side / 2
        for i, side in enumerate(size)
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _shift(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Shift by whole pixels and mirror, in one gather; the images stay uint8."""
    n, channels, height, width = images.shape
    reach = config.padding if config.crop == "pad" else 0
    if not reach and not config.flip:
        return images
    shift = (draws[:, :2] * (2 * reach + 1)).long() - reach
    rows = (torch.arange(height) + shift[:, :1]).clamp_(0, height - 1)
    columns = (torch.arange(width) + shift[:, 1:2]).clamp_(0, width - 1)
    if config.flip:
        columns = torch.where(draws[:, 2:3] < 0.5, columns.flip(1), columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1)
    return images.flatten(2).gather(2, places.expand(-1, channels, -1)).view(images.shape)


def _resample(images: Tensor, draws: Tensor, config: Augment, size: tuple[int, int]) -> Tensor:
    """Crop, stretch, rotate and mirror, in one bilinear resampling."""
    n = len(images)
    if config.crop == "resized":
        area, aspect = _area_and_aspect(draws[:, :2], config.scale, config.ratio)
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
    return F.grid_sample(
        images.float(), _grid(theta, size), mode="bilinear", padding_mode="border", align_corners=False
    )


def _grid(theta: Tensor, size: tuple[int, int]) -> Tensor:
    """The same as `F.affine_grid`, (B, 2, 3) -> (B, H, W, 2), but faster: computed by rows and columns."""
    y, x = (torch.linspace(-1, 1, side) * (side - 1) / side for side in size)
    grid = torch.empty(len(theta), *size, 2)
    for i in range(2):
        by_x, by_y, shift = theta[:, i, :, None].unbind(1)
        grid[..., i].copy_((x * by_x)[:, None, :]).add_((y * by_y)[:, :, None]).add_(shift[:, :, None])
    return grid


def _jitter(images: Tensor, draws: Tensor, amount: float) -> Tensor:
    """Scale the contrast about the image's mean, then the brightness; the result stays within 0..255."""
    images = images.float()
    contrast, brightness = (1 + (2 * draws - 1) * amount).view(-1, 2, 1, 1, 1).unbind(1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean).mul_(brightness).clamp_(0, 255)


def _erase(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Set a rectangle to the image's mean; its centre is anywhere, so it may reach over the edge."""
    area, aspect = _area_and_aspect(draws[:, 3:5], config.erase_scale, config.erase_ratio)
    sides = torch.stack(((area / aspect).sqrt(), (area * aspect).sqrt()), 1)
    size = images.shape[-2], images.shape[-1]
    inside = rectangle(draws[:, :2], sides, size) & (draws[:, 2] < config.erase).view(-1, 1, 1, 1)
    mean = images.float().mean((1, 2, 3), keepdim=True).to(images.dtype)
    return torch.where(inside, mean, images)


def _area_and_aspect(draws: Tensor, scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Draws (B, 2) -> area, uniform in `scale`, and aspect (width / height), log-uniform in `ratio`: (B,) each."""
    area = scale[0] + draws[:, 0] * (scale[1] - scale[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    return area, torch.exp(low + draws[:, 1] * (high - low))
