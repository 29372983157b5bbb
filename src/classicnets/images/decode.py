"""Decode an image to a uint8 array or tensor.

The content says what a file is, never its suffix. Pillow reads every header before any pixel is decoded. simplejpeg
then decodes the pixels of a JPEG, except of a CMYK JPEG, which it does not convert. Pillow decodes all other formats.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile

from classicnets.errors import BadImage
from classicnets.images import jpeg
from classicnets.images.deep import colour_values, eight_bits, grey_values, has_deep_colours, low_bytes
from classicnets.images.header import is_jpeg, open_header, orientation_of, seen_size, too_large
from classicnets.images.source import (
    ImageSource,
    RefusedError,
    guarded,
    is_tensor,
    name_of,
    pixel_limit,
    pixels_of,
    read_bytes,
    read_state,
)

if TYPE_CHECKING:
    from torch import Tensor

Reduction = Callable[[int, int], int]


def read_image(
    source: ImageSource,
    *,
    name: str | None = None,
    max_pixels: int | None = None,
    reduction: Reduction = lambda height, width: 1,
    bit_depth: int = 16,
) -> Tensor:
    """Decode an image as a viewer shows it: uint8 RGB (3, H, W), values 0 to 255, contiguous.

    EXIF orientation is applied. Grey and palette images become RGB, CMYK is converted, transparent parts are laid
    over white, and the first frame of an animation is taken. This holds for files and PIL images alike.

    Args:
        source: a path (str or Path), the bytes of an image file, a file object opened in binary mode, a PIL image, a
            uint8 array (H, W, 3), (H, W, 1) or (H, W), or a uint8 tensor (3, H, W), (1, H, W) or (H, W).
        name: what to call the image in errors; by default its path, or the name of its file object.
        max_pixels: the most pixels that are decoded; the header is enough to refuse more. By default
            `$CLASSICNETS_MAX_PIXELS`, or 64,000,000.
        reduction: a function of height and width that returns how many times smaller a JPEG is decoded: 1, 2, 4 or 8.
            Blocks of pixels are averaged, in a fraction of the time, and sides are rounded up. A JPEG that is reduced
            may have up to 4 x `max_pixels` pixels.
        bit_depth: how many bits the values of 16-bit images use, 8 to 16; their 8 highest are kept. Values beyond
            become 255. `data_bit_depth` finds it.

    Raises BadImage if there is no such file, it is not an image, is too large, truncated or damaged, or if an array or
    tensor has another type or shape. Raises ConfigError if CLASSICNETS_MAX_PIXELS is not a number of pixels.

    >>> read_image("cat.jpg").shape  # doctest: +SKIP
    torch.Size([3, 480, 640])
    """
    import torch

    name = name or name_of(source)
    pixels = read_pixels(source, name=name, max_pixels=max_pixels, reduction=reduction, bit_depth=bit_depth)
    if len(pixels) not in (1, 3):
        raise BadImage(name, f"got a tensor of {len(pixels)} channels; a tensor must be (3, H, W), (1, H, W) or (H, W)")
    return torch.from_numpy(pixels).expand(3, -1, -1).contiguous()


def read_pixels(
    source: ImageSource,
    *,
    name: str | None = None,
    max_pixels: int | None = None,
    reduction: Reduction = lambda height, width: 1,
    bit_depth: int = 16,
) -> np.ndarray:
    """Decode an image as `read_image` does, to an array, and leave the channels of arrays and tensors as they are.

    Returns uint8 (C, H, W), without importing PyTorch. The pixels of a file stay as the decoder gives them, in
    channels-last memory: resizing needs them so, and moving them there and back takes longer than decoding.

    Args:
        source: a path, bytes, a binary file object, a PIL image, or a uint8 array or tensor; a tensor may have any
            number of channels, (C, H, W) or (H, W).
        name: what to call the image in errors; by default its path, or the name of its file object.
        max_pixels: the most pixels that are decoded; by default `$CLASSICNETS_MAX_PIXELS`, or 64,000,000.
        reduction: a function of height and width that returns how many times smaller a JPEG is decoded: 1, 2, 4 or 8.
        bit_depth: how many bits the values of 16-bit images use, 8 to 16.

    Raises BadImage if the image cannot be decoded, ConfigError if CLASSICNETS_MAX_PIXELS is not a number of pixels.

    >>> read_pixels(np.zeros((4, 6), np.uint8)).shape
    (1, 4, 6)
    """
    name = name or name_of(source)
    if isinstance(source, np.ndarray) or is_tensor(source):
        return pixels_of(source, name=name)
    if isinstance(source, Image.Image):
        pixels = guarded(name, lambda: _decode(source.copy(), bit_depth))
    else:
        limit = pixel_limit() if max_pixels is None else max_pixels
        data = read_bytes(source, name=name)
        pixels = guarded(name, lambda: _decode_file(data, limit, reduction, bit_depth))
    whole = np.require(pixels, requirements=["C", "W"])  # a copy only of what is turned or may not be written to
    return whole.transpose(2, 0, 1)


def image_size(source: ImageSource, *, name: str | None = None, max_pixels: int | None = None) -> tuple[int, int]:
    """Return the (height, width) that `read_image` gives, from the header alone.

    A JPEG may have up to 4 x `max_pixels` pixels, because it can be decoded at a half of its size or less.

    Args:
        source: as for `read_image`.
        name: what to call the image in errors; by default its path, or the name of its file object.
        max_pixels: the most pixels that are decoded; by default `$CLASSICNETS_MAX_PIXELS`, or 64,000,000.

    Raises BadImage as `read_image` does, except for damage behind the header.

    >>> image_size("cat.jpg")  # doctest: +SKIP
    (480, 640)
    """
    name = name or name_of(source)
    limit = pixel_limit() if max_pixels is None else max_pixels
    if isinstance(source, np.ndarray) or is_tensor(source):
        _, height, width = pixels_of(source, name=name).shape
        return height, width
    if isinstance(source, Image.Image):
        return guarded(name, lambda: seen_size(source.copy()))
    if isinstance(source, str | os.PathLike):
        read_state(Path(source), name=name)
        with guarded(name, lambda: open(source, "rb")) as file:
            return guarded(name, lambda: seen_size(open_header(file, limit, pixels=False)))
    data = read_bytes(source, name=name)
    return guarded(name, lambda: seen_size(open_header(io.BytesIO(data), limit, pixels=False)))


_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_BAND = 1 << 18  # pixels at a time

_TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def _decode_file(data: bytes, max_pixels: int, reduction: Reduction, bit_depth: int) -> np.ndarray:
    """uint8 (H, W, 3) of the content of a file."""
    image = open_header(io.BytesIO(data), max_pixels)
    if is_jpeg(image):
        return _decode_jpeg(data, image, max_pixels, reduction)
    low = None
    if bit_depth < 16 and has_deep_colours(image):
        low = low_bytes(open_header(io.BytesIO(data), max_pixels))
    return _decode(image, bit_depth, low)


def _decode_jpeg(data: bytes, image: ImageFile.ImageFile, max_pixels: int, reduction: Reduction) -> np.ndarray:
    factor = reduction(*seen_size(image))
    width, height = image.size
    if -(-width // factor) * -(-height // factor) > max_pixels:
        raise too_large(height, width, max_pixels)
    size = (max(1, height // factor), max(1, width // factor))
    pixels = jpeg.decode_jpeg(data, "CMYK" if image.mode == "CMYK" else "RGB", size)
    if pixels is None or image.mode == "CMYK":  # simplejpeg has refused damage; Pillow converts
        image.draft(image.mode, size[::-1])
        return _decode(image)
    return _TURN[orientation_of(image)](pixels)


def _decode(image: Image.Image, bit_depth: int = 16, low: Image.Image | None = None) -> np.ndarray:
    """uint8 (H, W, 3) of anything that Pillow opened; `low` holds the low bytes of 16-bit colours."""
    image.load()
    turn = _TURN[orientation_of(image)]
    if image.mode.startswith("I"):
        image = Image.fromarray(eight_bits(grey_values(image), bit_depth))
    elif low is not None:
        image = Image.fromarray(eight_bits(colour_values(image, low), bit_depth))
    if image.mode == "F":
        raise RefusedError("its pixels are floating-point numbers, whose range is not known; save it with 8 or 16 bits")
    return turn(_on_white(image))


def _on_white(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3), white where the image is transparent.

    Band by band: a large image has no copy in each of the modes on the way, and a band stays in the processor's cache.
    """
    is_transparent = image.mode in _WITH_ALPHA or image.has_transparency_data
    if image.mode == "RGB" and not is_transparent:
        return np.asarray(image)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        if is_transparent:
            band = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
        pixels[top : top + rows] = np.asarray(band.convert("RGB"))
    return pixels
