"""`Preprocess`: turn a decoded image into network input. Nothing else knows resize, crop, mean and std.

It has two halves. `geometry` turns uint8 into uint8, so its result can be kept on disk. `normalize` turns uint8 into
floats, a whole batch at a time. Evaluation, prediction and serving all use both, so they cannot differ. Only
`normalize` needs PyTorch: an exported network normalises its own input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from PIL import Image

from classicnets.errors import BadImage, ConfigError, DataError, unknown_name
from classicnets.images import MAX_PIXELS, ImageSource, name_of, read_pixels
from classicnets.system.memory import in_huge_pages

if TYPE_CHECKING:
    from torch import Tensor

Pixels = TypeVar("Pixels", np.ndarray, "Tensor")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Resize = Literal["crop", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

_MOST_CHANNELS = 12
_LONGEST_SIDE = 4096
_SPARE = 2  # an image is decoded at least so many times larger than it is resized to, so that no detail is lost
_CACHED_NUMBERS = 1 << 20  # floats that a processor's cache holds
_OPTIONAL = {"bit_depth"}  # settings that older classifiers do not have


MOST_COVER = 8
"""A resized image is at most so many times larger than its crop: of a longer one, the middle is cut out first."""


class Window(NamedTuple):
    """The part of an image that the network sees, in the image's pixels. With "pad" it reaches beyond the image."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes network input.

    The image is resized to `input_size / crop_fraction`, then the centre `input_size` is cut out.

    Attributes:
        input_size: (height, width) in pixels, each 1 to 4096.
        resize: "crop" keeps the aspect ratio, covers the size and cuts off the rest; "squash" resizes both sides to
            fit; "pad" keeps the aspect ratio, shows the whole image and fills the rest with black.
        crop_fraction: in (0, 1]; 0.875 is the usual 224 of 256.
        interpolation: "nearest", "bilinear" or "bicubic".
        mean: one number per channel, for pixel values in 0..1. Its length is the number of channels, 1 to 12.
        std: one number above 0 per channel.
        bit_depth: how many bits the values of 16-bit image files use, 8 to 16 (`read_image`). 8-bit images ignore it.

    Raises ConfigError for any value that cannot be used.

    >>> preprocess = Preprocess(input_size=(224, 224), crop_fraction=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    >>> preprocess.geometry(np.zeros((3, 480, 640), np.uint8)).shape
    (3, 224, 224)
    """

    input_size: tuple[int, int]
    resize: Resize = "crop"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bit_depth: int = 16

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
        if not (_is_int(self.bit_depth) and 8 <= self.bit_depth <= 16):
            _refuse("bit_depth", self.bit_depth, "a whole number from 8 to 16")
        object.__setattr__(self, "input_size", size)
        object.__setattr__(self, "crop_fraction", float(self.crop_fraction))
        object.__setattr__(self, "mean", tuple(map(float, mean)))
        object.__setattr__(self, "std", tuple(map(float, std)))

    @property
    def channels(self) -> int:
        """The number of channels of the network input."""
        return len(self.mean)

    def read(self, source: ImageSource, *, name: str | None = None) -> np.ndarray:
        """Decode an image and apply `geometry`: uint8 (channels, *input_size), values 0 to 255.

        A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, in a fraction of the time. It is
        still at least twice as large as needed, so the values differ from `geometry(read_image(source))` by less than
        1 on average, and by about 10 at the hardest edges. Training, evaluation and prediction all use this method.

        Args:
            source: what `read_image` takes. A uint8 tensor may also be (channels, H, W).
            name: what to call the image in errors; by default its path, or the name of its file object.

        Raises BadImage as `read_image` does, or if the image has a number of channels that does not fit.

        >>> preprocess.read("cat.jpg").shape  # doctest: +SKIP
        (3, 224, 224)
        """
        name = name or name_of(source)
        image = read_pixels(source, name=name, reduction=self.reduction, bit_depth=self.bit_depth)
        try:
            return self.geometry(image)
        except DataError as error:
            raise BadImage(name, str(error)) from None

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller `read` decodes a JPEG of this size: 8, 4, 2 or 1.

        Args:
            height: in pixels, after the EXIF orientation is applied.
            width: likewise.
        """
        if self.interpolation == "nearest":
            return 1
        needed = self._resized_size(height, width)
        # The last pixels of a side that is no multiple stand for fewer than the others. A very large image hides it.
        very_large = height * width > MAX_PIXELS
        for factor in (8, 4, 2):
            whole = height % factor == width % factor == 0
            spare = height >= _SPARE * factor * needed[0] and width >= _SPARE * factor * needed[1]
            if spare and (whole or very_large):
                return factor
        # Without spare pixels rather than not at all.
        return 2 if very_large and height >= 2 * needed[0] and width >= 2 * needed[1] else 1

    def geometry(self, images: Pixels) -> Pixels:
        """Convert the channels, resize and crop. The result of an image does not depend on the others in its batch.

        Args:
            images: uint8 (..., C, H, W), values 0 to 255, an array or a tensor. Grey is repeated to become RGB, and
                RGB becomes grey by luma (ITU-R 601).

        Returns uint8 (..., channels, *input_size), contiguous: an array for an array, a tensor on the CPU for a
        tensor. Raises DataError for another dtype, and if the number of channels does not fit.

        >>> preprocess.geometry(np.zeros((8, 3, 480, 640), np.uint8)).shape  # doctest: +SKIP
        (8, 3, 224, 224)
        """
        return _on_array(self._geometry, images)

    def _geometry(self, images: np.ndarray) -> np.ndarray:
        images = _centre(self._resized(self._converted(images)), self.input_size)
        whole = np.broadcast_to(images, (*images.shape[:-3], self.channels, *self.input_size))
        return np.require(whole, requirements=["C", "W"])

    def window(self, height: int, width: int) -> Window:
        """Return which part of an image the network sees.

        Args:
            height: of the image in pixels, after the EXIF orientation is applied.
            width: likewise.

        >>> preprocess.window(256, 512)  # doctest: +SKIP
        Window(top=16.0, left=144.0, height=224.0, width=224.0)
        """
        middle = self._middle(height, width)
        resized = self._resized_size(*middle)
        starts, sizes = [], []
        for side, kept, scaled, seen in zip((height, width), middle, resized, self.input_size, strict=True):
            scale = kept / scaled
            starts.append(_start(side, kept) + _start(scaled, seen) * scale)
            sizes.append(seen * scale)
        return Window(*starts, *sizes)

    def converted(self, images: Pixels) -> Pixels:
        """Convert the channels only: uint8 (..., C, H, W) to (..., channels, H, W), or (..., 1, H, W) to be repeated.

        Args:
            images: uint8, values 0 to 255, an array or a tensor.

        Raises DataError as `geometry` does.

        >>> preprocess.converted(np.zeros((3, 480, 640), np.uint8)).shape  # doctest: +SKIP
        (3, 480, 640)
        """
        return _on_array(self._converted, images)

    def _converted(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8:
            raise DataError(f"geometry takes uint8 images with values 0 to 255, got {images.dtype}.")
        channels = images.shape[-3]
        if channels == 3 and self.channels == 1:
            return _luma(images)
        if channels not in (1, self.channels):
            raise DataError(
                f"The image has {channels} channels and the network takes {self.channels}. Only grey and RGB are "
                f"converted into each other; give images with {self.channels} channels."
            )
        return images

    def normalize(self, images: Tensor) -> Tensor:
        """Return (images / 255 - mean) / std as float32 (N, channels, H, W), in channels_last memory.

        Args:
            images: values 0 to 255, (N, channels, H, W), of any dtype; not changed.

        >>> preprocess.normalize(torch.zeros(8, 3, 224, 224, dtype=torch.uint8)).dtype  # doctest: +SKIP
        torch.float32
        """
        import torch

        from classicnets.system.streams import sent

        mean, std = (sent(torch.tensor(values).mul_(255), images.device) for values in (self.mean, self.std))
        if images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
            return _normalized_rows(images, mean, std)
        mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
        # Channels-last comes last: subtracting a number from a whole plane is several times as fast.
        return images.sub(mean).div_(std).to(torch.float32, memory_format=torch.channels_last)

    def __call__(self, image: Tensor) -> Tensor:
        """Turn one image, a uint8 tensor (C, H, W), into a batch of one: float32 (1, channels, *input_size)."""
        return self.normalize(self.geometry(image)[None])

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values, for `Preprocess.from_dict`."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Build a Preprocess from the values of `to_dict`.

        Args:
            values: every setting by its name. `bit_depth` may be missing, as in older classifiers; it is then 16.

        Raises ConfigError if a setting is missing or its value cannot be used, UnknownName for an unknown key.
        """
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_name("preprocess setting", str(key), known, next_step=f"Known: {', '.join(known)}.")
        missing = [name for name in known if name not in values and name not in _OPTIONAL]
        if missing:
            raise ConfigError(f"The preprocess settings lack {', '.join(missing)}; all of them must be given.")
        return cls(**values)

    def _resized(self, images: np.ndarray) -> np.ndarray:
        images = _centre(images, self._middle(*images.shape[-2:]))
        return _resize(images, self._resized_size(images.shape[-2], images.shape[-1]), self.interpolation)

    def _middle(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) in the middle of an image that is resized: all of it, unless it is very long."""
        if self.resize != "crop":
            return height, width
        # Only the middle of a very long image is visible. Cut it out first: resizing all might fill the memory.
        target = self.target
        scale = max(target[0] / height, target[1] / width)
        reach = (math.ceil(MOST_COVER * target[0] / scale), math.ceil(MOST_COVER * target[1] / scale))
        return min(height, reach[0]), min(width, reach[1])

    @property
    def target(self) -> tuple[int, int]:
        """The (height, width) that an image is resized to cover, fit or fill, before `input_size` is cut out of it."""
        return round(self.input_size[0] / self.crop_fraction), round(self.input_size[1] / self.crop_fraction)

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of this size is resized to, before the crop."""
        target = self.target
        if self.resize == "squash":
            return target
        choose = max if self.resize == "crop" else min
        return _scaled(height, width, target, choose(target[0] / height, target[1] / width))


def _resize(images: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """Resize uint8 images (..., C, H, W) to (height, width) with Pillow, antialiased except for "nearest"."""
    if images.shape[-2:] == size:
        return images
    resized = np.empty((*images.shape[:-2], *size), np.uint8)
    for image, out in zip(
        images.reshape(-1, *images.shape[-3:]), resized.reshape(-1, *resized.shape[-3:]), strict=True
    ):
        if len(image) == 3:
            rows = np.ascontiguousarray(image.transpose(1, 2, 0))
            out[...] = _resize_rows(rows, size, interpolation).transpose(2, 0, 1)
        else:
            for plane, made in zip(image, out, strict=True):
                made[...] = _resize_rows(np.ascontiguousarray(plane), size, interpolation)
    return resized


def _resize_rows(rows: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    return np.asarray(Image.fromarray(rows).resize(size[::-1], Image.Resampling[interpolation.upper()]))


def _scaled(height: int, width: int, target: tuple[int, int], scale: float) -> tuple[int, int]:
    """The sides times `scale`: the side that sets the scale is exactly the target's, the other is rounded down."""
    if scale == target[0] / height:
        return target[0], max(1, target[0] * width // height)
    return max(1, target[1] * height // width), target[1]


def _centre(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of images, of `size` (height, width); black pixels where an image has none."""
    top, left = (_start(side, seen) for side, seen in zip(images.shape[-2:], size, strict=True))
    images = images[..., max(0, top) :, max(0, left) :][..., : size[0], : size[1]]
    if images.shape[-2:] == size:
        return images
    whole = np.zeros((*images.shape[:-2], *size), np.uint8)
    whole[..., max(0, -top) :, max(0, -left) :][..., : images.shape[-2], : images.shape[-1]] = images
    return whole


def _normalized_rows(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`Preprocess.normalize` of channels-last images.

    It takes whole rows of pixels, because three numbers a pixel need twice as long. It takes a few images at a time, so
    that the second pass over them finds them in the processor's cache.
    """
    import torch

    n, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).reshape(n, height, width * channels)
    means, stds = mean.repeat(width), std.repeat(width)
    result = in_huge_pages(torch.empty(rows.shape, dtype=torch.float32, device=images.device))
    at_once = max(1, _CACHED_NUMBERS // max(1, rows[:1].numel())) if images.device.type == "cpu" else max(1, n)
    for i in range(0, n, at_once):
        result[i : i + at_once].copy_(rows[i : i + at_once]).sub_(means).div_(stds)
    return result.view(n, height, width, channels).permute(0, 3, 1, 2)


def _start(side: int, seen: int) -> int:
    """Where `_centre` begins to cut `seen` pixels out of a side; below 0 if it adds pixels before the side."""
    return round((side - seen) / 2) if side >= seen else -((seen - side) // 2)


def luma(images: Pixels) -> Pixels:
    """Convert RGB to grey by ITU-R 601 luma: uint8 (..., 3, H, W) to (..., 1, H, W). Grey keeps its values exactly.

    Images on a GPU stay there.
    """
    if isinstance(images, np.ndarray) or images.device.type == "cpu":
        return _on_array(_luma, images)
    import torch

    grey: Tensor = _weighted(*images.to(torch.int32).unbind(-3))
    return grey.to(torch.uint8).unsqueeze(-3)


def _luma(images: np.ndarray) -> np.ndarray:
    grey: np.ndarray = _weighted(*np.moveaxis(images.astype(np.int32), -3, 0))
    return grey.astype(np.uint8)[..., None, :, :]


def _weighted(red: Any, green: Any, blue: Any) -> Any:
    """Grey of RGB in int32, arrays or tensors: the weights are those of ITU-R 601 times 65,536."""
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _on_array(function: Callable[[np.ndarray], np.ndarray], images: Pixels) -> Pixels:
    """Apply a function of arrays to an array, or to a tensor, which gives a tensor on the CPU."""
    if isinstance(images, np.ndarray):
        return function(images)
    import torch

    return torch.from_numpy(function(images.cpu().numpy()))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(key: str, value: object, allowed: str) -> None:
    raise ConfigError(f"preprocess.{key} is {value!r}; it must be {allowed}.")
