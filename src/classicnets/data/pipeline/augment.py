"""Augmentation of a whole batch at once, without a loop over images.

uint8 (B, C, H, W) -> shift, flip, rotation -> policy -> jitter -> erasing -> (B, C, H, W), values still 0..255

Random crops of whole pictures take the place of the first step: see `crops.py`. `mixing.py` mixes two images (`mixup`,
`cutmix`) at the end.

The images may be on a GPU. The draws, and what is computed for each sample from them, are on the CPU and are sent
there: so both get the same, to the last bit, and nothing waits for the GPU.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from classicnets.data.pipeline import random
from classicnets.data.pipeline.grid import affine_grid
from classicnets.data.pipeline.policy import DRAWS_PER_OPERATION, MAGNITUDES, Policy, apply_policy
from classicnets.system.streams import sent

_MOST_OPERATIONS = 4
_FIRST = 10  # draws of the first stream; later operations have a stream of their own, so older runs stay as they were

_LARGEST_PHOTO = 2.5  # see `Augment.photo_side`

# Which columns of the draws decide what.
_SHIFT, _FLIP, _JITTER, _ERASE = slice(0, 3), 2, slice(6, 8), slice(8, 13)
_SHIFT_X, _SHIFT_Y, _ANGLE, _MIRROR = 2, 3, 4, 5  # of a rotated image; the last two of a crop too
_POLICY = slice(13, None)

_FLIP_STREAM = 4  # see `random.uniform`


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the first end of a range must not be above the second")
    return ends


_PositiveShare = Annotated[float, Field(gt=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]
_Shares = Annotated[tuple[_PositiveShare, _PositiveShare], AfterValidator(_in_order)]
_Ratios = Annotated[tuple[_Positive, _Positive], AfterValidator(_in_order)]
_Multiple = Annotated[float, Field(ge=1, le=8)]
_Multiples = Annotated[tuple[_Multiple, _Multiple], AfterValidator(_in_order)]
_Beta = Annotated[float, Field(ge=0, le=100)]


class Augment(BaseModel):
    """How training images are augmented. The defaults change nothing.

    Attributes:
        crop: "pad" shifts by up to `padding` pixels and repeats the pixels of the edge; "resized" cuts a rectangle out
            of any place of the whole picture and resizes it (Szegedy et al. 2014); "jitter" resizes the picture so that
            its shorter side has a random length, and cuts the input's size out of any place (Simonyan and Zisserman
            2014, He et al. 2015); "none" keeps the centre square, at the input's size, as evaluation does.
        padding: pixels, 0 to 64.
        scale, ratio: for "resized", the range of the rectangle's share of the picture's area, and of its aspect
            (width / height).
        short_side: for "jitter", the range of the shorter side as a multiple of the input's, 1 to 8. 256 to 480 pixels
            for an input of 224 are [1.1429, 2.1429].
        flip: mirror half of the samples left to right.
        flip_alternates: with `flip`, mirror each image in every other epoch instead of at random, so that two epochs
            show both views of every image (Jordan 2024, arXiv:2404.00498, Sec. 3.6).
        rotate: rotate by up to this many degrees either way, 0 to 180. With "resized" and "jitter", each image costs
            several times as long.
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

    crop: Literal["none", "pad", "resized", "jitter"] = "none"
    padding: Annotated[int, Field(ge=0, le=64)] = 4
    scale: _Shares = (0.35, 1.0)
    ratio: _Ratios = (3 / 4, 4 / 3)
    short_side: _Multiples = (256 / 224, 480 / 224)
    flip: bool = False
    flip_alternates: bool = False
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
    def crops_pictures(self) -> bool:
        """Whether crops come from any place of the whole picture, which must then be kept."""
        return self.crop in ("resized", "jitter")

    @property
    def mirror_draw(self) -> int:
        """The column of the draws that decides what is mirrored: below 0.5 it is."""
        return _MIRROR if self.rotate or self.crops_pictures else _FLIP

    def photo_side(self, side: int) -> int | None:
        """Return the shorter side, in pixels, of kept photos, or None if they are not kept whole.

        With it, the smallest crop has about as many pixels as the network's input. It is at most 2.5 times the input's:
        crops of less than 0.16 of the area, one in eleven of 0.08 to 1, are then enlarged, by up to 1.4 times. Without
        this limit such photos would take twice the memory.

        Args:
            side: the side of the network's input, in pixels.
        """
        if not self.crops_pictures:
            return None
        times = 1 / math.sqrt(self.scale[0]) if self.crop == "resized" else self.short_side[1]
        return math.ceil(side * min(times, _LARGEST_PHOTO))


def draw(seed: int, epoch: int, indices: Tensor, config: Augment) -> Tensor:
    """Draw the numbers in [0, 1) that `augment` needs for each sample: int64 (B,) -> float32 (B, draws).

    Numbers that `config` does not need are not drawn; that does not change the others.
    """
    first = random.uniform(seed, epoch, indices, _FIRST)
    if config.flip_alternates:
        in_first_epoch = random.uniform(seed, 0, indices, 1, stream=_FLIP_STREAM)[:, 0]
        first[:, config.mirror_draw] = (in_first_epoch + 0.5 * (epoch % 2)) % 1
    if config.policy == "none" and not config.erase:
        return first
    later = 3 + _MOST_OPERATIONS * DRAWS_PER_OPERATION
    return torch.cat((first, random.uniform(seed, epoch, indices, later, stream=1)), 1)


def augment(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Change each image by its own row of `draws`, made by `draw`: uint8 (B, C, H, W) -> (B, C, H, W), 0..255.

    The images may be on a GPU, and the results are then too; the draws are on the CPU. The crops of whole pictures are
    made by `crops.py`.
    """
    images = _resample(images, draws, config) if config.rotate else _shift(images, draws[:, _SHIFT], config)
    return alter(images, draws, config)


def alter(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Apply what follows the shift or the crop: policy, jitter and erasing; the shape stays (B, C, H, W)."""
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


def angles(draws: Tensor, config: Augment) -> Tensor:
    """Return how far each sample is rotated, in radians: (B,)."""
    return (2 * draws[:, _ANGLE] - 1) * math.radians(config.rotate)


def mirrors(draws: Tensor, config: Augment) -> Tensor:
    """Return which samples are mirrored if they are resampled: bool (B,)."""
    return (draws[:, _MIRROR] < 0.5) & config.flip


def rectangle(centre: Tensor, sides: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask of a rectangle, bool (B, 1, H, W), from its centre and sides (B, 2) as shares of `size` (H, W)."""
    rows, columns = (
        (torch.arange(side, device=centre.device) - centre[:, i : i + 1] * side).abs() < sides[:, i : i + 1] * side / 2
        for i, side in enumerate(size)
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _shift(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Shift by whole pixels and mirror, in one gather; the images stay uint8."""
    n, channels, height, width = images.shape
    reach = config.padding if config.crop == "pad" else 0
    if not reach and not config.flip:
        return images
    draws = sent(draws, images.device)
    shift = (draws[:, :2] * (2 * reach + 1)).long() - reach
    rows = (torch.arange(height, device=images.device) + shift[:, :1]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) + shift[:, 1:2]).clamp_(0, width - 1)
    if config.flip:
        columns = torch.where(draws[:, 2:3] < 0.5, columns.flip(1), columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1)
    return images.flatten(2).gather(2, places.expand(-1, channels, -1)).view(images.shape)


def _resample(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Shift, rotate and mirror, in one bilinear resampling."""
    reach = 2 * config.padding / images.shape[-1] if config.crop == "pad" else 0.0
    shift_x, shift_y = ((2 * draws[:, i] - 1) * reach for i in (_SHIFT_X, _SHIFT_Y))
    angle, mirrored = angles(draws, config), mirrors(draws, config)
    mirror = torch.where(mirrored, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    # Each output position (x, y) in -1..1 is read at theta @ (x, y, 1), in the input's own -1..1.
    theta = torch.stack(
        (torch.stack((cos * mirror, -sin, shift_x), 1), torch.stack((sin * mirror, cos, shift_y), 1)), 1
    )
    grid = affine_grid(sent(theta, images.device), (images.shape[-2], images.shape[-1]))
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def _jitter(images: Tensor, draws: Tensor, amount: float) -> Tensor:
    """Scale the contrast about the image's mean, then the brightness; the result stays within 0..255."""
    images = images.float()
    contrast, brightness = sent(1 + (2 * draws - 1) * amount, images.device).view(-1, 2, 1, 1, 1).unbind(1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean).mul_(brightness).clamp_(0, 255)


def _erase(images: Tensor, draws: Tensor, config: Augment) -> Tensor:
    """Set a rectangle to the image's mean; its centre is anywhere, so it may reach over the edge."""
    area, aspect = area_and_aspect(draws[:, 3:5], config.erase_scale, config.erase_ratio)
    sides = torch.stack(((area / aspect).sqrt(), (area * aspect).sqrt()), 1)
    size = images.shape[-2], images.shape[-1]
    centre, sides, chosen = (sent(each, images.device) for each in (draws[:, :2], sides, draws[:, 2] < config.erase))
    inside = rectangle(centre, sides, size) & chosen.view(-1, 1, 1, 1)
    mean = images.float().mean((1, 2, 3), keepdim=True).to(images.dtype)
    return torch.where(inside, mean, images)


def area_and_aspect(draws: Tensor, scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Draws (B, 2) -> area, uniform in `scale`, and aspect (width / height), log-uniform in `ratio`: (B,) each."""
    area = scale[0] + draws[:, 0] * (scale[1] - scale[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    return area, torch.exp(low + draws[:, 1] * (high - low))
