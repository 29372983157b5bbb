"""`Preprocess`: from a decoded image to what a network takes. The only place that knows resize, crop, mean and std.

The two halves are apart on purpose. `geometry` goes from bytes to bytes, so that its result can be kept on disk;
`normalize` goes from bytes to floats and is done on whole batches. Training, evaluation, prediction and serving all
come through here, so that they cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from classicnets.errors import ConfigError, DataError, unknown_name
from classicnets.images import read_image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Resize = Literal["crop", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

_MODES = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
_MOST_CHANNELS = 12
_LONGEST_SIDE = 4096
_SPARE = 2  # how many times larger than it is resized to an image is decoded at least, so that no detail is lost
_MOST_COVER = 8  # how many times larger than its crop a resized image may get


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes network input.

    The image is resized to `input_size / crop_fraction`, then the centre `input_size` is cut out:

    - `"crop"`: the aspect ratio is kept and the size is covered; what sticks out is cut off.
    - `"squash"`: both sides are resized to fit; the aspect ratio is not kept.
    - `"pad"`: the aspect ratio is kept and all of the image fits; the rest is black.

    Attributes:
        input_size: (height, width) in pixels, 1 to 4096.
        crop_fraction: in (0, 1]; 0.875 is the usual 224 of 256.
        mean, std: one number per channel, for pixel values in 0..1. Their length is the number of channels.

    Raises ConfigError for any value that cannot be used.

    >>> preprocess = Preprocess(input_size=(224, 224), crop_fraction=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    >>> preprocess(torch.zeros(3, 480, 640, dtype=torch.uint8)).shape
    torch.Size([1, 3, 224, 224])
    """

    input_size: tuple[int, int]
    resize: Resize = "crop"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for key in ("input_size", "mean", "std"):
            if not isinstance(getattr(self, key), list | tuple):
                _refuse(key, getattr(self, key), "a list of numbers")
        size, mean, std = tuple(self.input_size), tuple(self.mean), tuple(self.std)
        if len(size) != 2 or not all(_is_int(n) and 1 <= n <= _LONGEST_SIDE for n in size):
            _refuse("input_size", self.input_size, f"two whole numbers, height and width, from 1 to {_LONGEST_SIDE}")
        if self.resize not in get_args(Resize):
            _refuse("resize", self.resize, " or ".join(get_args(Resize)))
        if self.interpolation not in get_args(Interpolation):
            _refuse("interpolation", self.interpolation, " or ".join(get_args(Interpolation)))
        if not (_is_number(self.crop_fraction) and 0 < self.crop_fraction <= 1):
            _refuse("crop_fraction", self.crop_fraction, "a number above 0 and up to 1")
        if max(size) / self.crop_fraction > 2 * _LONGEST_SIDE:
            _refuse("crop_fraction", self.crop_fraction, f"one that resizes to at most {2 * _LONGEST_SIDE} pixels")
        if not (1 <= len(mean) <= _MOST_CHANNELS and all(map(_is_number, mean))):
            _refuse("mean", self.mean, f"one number for each of 1 to {_MOST_CHANNELS} channels")
        if not (len(std) == len(mean) and all(_is_number(s) and s > 0 for s in std)):
            _refuse("std", self.std, f"as many numbers above 0 as the mean has ({len(mean)})")
        object.__setattr__(self, "input_size", size)
        object.__setattr__(self, "crop_fraction", float(self.crop_fraction))
        object.__setattr__(self, "mean", tuple(map(float, mean)))
        object.__setattr__(self, "std", tuple(map(float, std)))

    @property
    def channels(self) -> int:
        """How many channels the network takes."""
        return len(self.mean)

    def read(self, source: str | Path | bytes, *, name: str | None = None) -> Tensor:
        """`geometry` of an image file or its content, uint8 (channels, *input_size). Raises BadImage as `read_image`.

        A JPEG much larger than is needed is decoded at a half, a quarter or an eighth of its size, which takes a
        fraction of the time. It is still twice as large as needed or more, so that the values, 0 to 255, differ from
        those of `geometry(read_image(source))` by less than 1 in the mean and 10 or so at the hardest edges. Training,
        evaluation and prediction of files all come through here.
        """
        return self.geometry(read_image(source, name=name, reduction=self.reduction))

    def reduction(self, height: int, width: int) -> int:
        """How many times smaller `read` decodes a JPEG of this size: 8, 4, 2 or 1."""
        if self.interpolation == "nearest":
            return 1
        needed = self._resized_size(height, width)
        for factor in (8, 4, 2):
            whole = height % factor == width % factor == 0  # or the last pixels would stand for less than the others
            if whole and height >= _SPARE * factor * needed[0] and width >= _SPARE * factor * needed[1]:
                return factor
        return 1

    def geometry(self, images: Tensor) -> Tensor:
        """Channels, resize and crop: uint8 (..., C, H, W) to uint8 (..., channels, *input_size), contiguous.

        Grey becomes RGB by repetition, RGB becomes grey by luma (ITU-R 601). The result for an image does not depend
        on the others in its batch. Raises DataError where the number of channels cannot be made to fit.
        """
        if images.dtype != torch.uint8:
            raise DataError(f"geometry takes uint8 images with values 0 to 255, and got {images.dtype}.")
        channels = images.shape[-3]
        if channels == 3 and self.channels == 1:
            images = luma(images)
        elif channels not in (1, self.channels):
            raise DataError(
                f"The image has {channels} channels and the network takes {self.channels}. Only grey and RGB are "
                f"turned into one another; give images with {self.channels} channels."
            )
        images = _centre(self._resized(images), self.input_size)
        return images.expand(*images.shape[:-3], self.channels, *self.input_size).contiguous()

    def normalize(self, images: Tensor) -> Tensor:
        """(x / 255 - mean) / std of values 0 to 255 (N, channels, H, W), as float32 in channels_last memory."""
        mean = torch.tensor(self.mean, device=images.device).mul_(255).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).mul_(255).view(-1, 1, 1)
        # Channels-last comes after: a value for each channel is taken from all of a plane several times as fast.
        return images.sub(mean).div_(std).to(torch.float32, memory_format=torch.channels_last)

    def __call__(self, image: Tensor) -> Tensor:
        """One image, uint8 (C, H, W), to a batch of one, float32 (1, channels, *input_size)."""
        return self.normalize(self.geometry(image)[None])

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values; `Preprocess.from_dict` is the way back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """From `to_dict`'s values. Raises ConfigError for a missing or ill-typed value, UnknownName for another key."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_name("preprocess setting", str(key), known, next_step=f"Known: {', '.join(known)}.")
        missing = [name for name in known if name not in values]
        if missing:
            raise ConfigError(f"The preprocess settings lack {', '.join(missing)}; all of them must be given.")
        return cls(**values)

    def _resized(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if self.resize == "crop":
            # Of a very long image only the middle can be seen: cut it first, or resizing might fill the memory.
            target = self._target
            scale = max(target[0] / height, target[1] / width)
            reach = (math.ceil(_MOST_COVER * target[0] / scale), math.ceil(_MOST_COVER * target[1] / scale))
            images = _centre(images, (min(height, reach[0]), min(width, reach[1])))
        size = self._resized_size(images.shape[-2], images.shape[-1])
        if size == tuple(images.shape[-2:]):
            return images
        resized: Tensor = F.resize(images, list(size), interpolation=_MODES[self.interpolation], antialias=True)
        return resized

    @property
    def _target(self) -> tuple[int, int]:
        return round(self.input_size[0] / self.crop_fraction), round(self.input_size[1] / self.crop_fraction)

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image of this size is resized to, before the crop."""
        target = self._target
        if self.resize == "squash":
            return target
        choose = max if self.resize == "crop" else min
        return _scaled(height, width, target, choose(target[0] / height, target[1] / width))


def _scaled(height: int, width: int, target: tuple[int, int], scale: float) -> tuple[int, int]:
    """The sides times `scale`: the side that decides is exactly the target's, the other one is rounded down."""
    if scale == target[0] / height:
        return target[0], max(1, target[0] * width // height)
    return max(1, target[1] * height // width), target[1]


def _centre(images: Tensor, size: tuple[int, int]) -> Tensor:
    return images if tuple(images.shape[-2:]) == size else F.center_crop(images, list(size))


def luma(images: Tensor) -> Tensor:
    """ITU-R 601 luma, uint8 (..., 3, H, W) to (..., 1, H, W): in 16-bit fixed point, so that grey keeps its values."""
    red, green, blue = images.to(torch.int32).unbind(-3)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8).unsqueeze(-3)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(key: str, value: object, allowed: str) -> None:
    raise ConfigError(f"preprocess.{key} is {value!r}; it must be {allowed}.")
