"""The values of images with 16 bits a channel, all 16 of them: Pillow keeps the high byte of colours only."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from classicnets.images.source import RefusedError

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
# Pillow unpacks 16-bit colours to their high bytes. Unpacked in the other byte order, the same file gives the low ones.
_LOW_BYTES = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for order, other in _SWAPPED.items()}


def has_deep_colours(image: ImageFile.ImageFile) -> bool:
    """Return whether an image that is not decoded yet has 16-bit colours whose low bytes can be read."""
    return bool(image.tile) and all(_unpacking(tile.args) in _LOW_BYTES for tile in image.tile)


def low_bytes(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    """Return the image, not decoded yet, such that it decodes to the low bytes of its 16-bit colours."""
    image.tile = [tile._replace(args=_with_low_bytes(tile.args)) for tile in image.tile]
    return image


def colour_values(high: Image.Image, low: Image.Image) -> np.ndarray:
    """Return 16-bit colours, uint16 (H, W, 3 or 4), of an image decoded to its high and to its low bytes."""
    values: np.ndarray = (np.asarray(high).astype(np.uint16) << 8) | np.asarray(low)
    return values


def grey_values(image: Image.Image) -> np.ndarray:
    """Return 16-bit grey values, (H, W). Raises RefusedError if they do not fit in 16 bits."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise RefusedError("its pixels are 32-bit numbers, whose range is not known; save it with 8 or 16 bits")
    return values


def eight_bits(values: np.ndarray, bit_depth: int) -> np.ndarray:
    """Return the 8 highest of `bit_depth` bits, uint8; values beyond become 255. Opacity always uses all 16 bits."""
    bits = (values >> (bit_depth - 8)).clip(max=255).astype(np.uint8)
    if values.shape[2:] == (4,):
        bits[..., 3] = values[..., 3] >> 8
    return bits


def _unpacking(args: Any) -> Any:
    """The name of how the bytes of a tile are unpacked, which Pillow keeps alone or in front of others."""
    return args[0] if isinstance(args, tuple) else args


def _with_low_bytes(args: Any) -> Any:
    other = _LOW_BYTES[_unpacking(args)]
    return (other, *args[1:]) if isinstance(args, tuple) else other
