"""How many bits 16-bit images really use: a camera's or X-ray's 12 bits in a 16-bit file would come out nearly black.

The bit depth belongs to a whole data set. Images that were stretched one by one could not be compared.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from classicnets.errors import BadImage
from classicnets.images.deep import colour_values, grey_values, has_deep_colours, low_bytes
from classicnets.images.header import open_header
from classicnets.images.source import guarded, name_of, pixel_limit, read_bytes
from classicnets.system.threads import in_threads

_DEPTHS = (8, 10, 12, 14, 16)
_MOST_FILES = 256


def bit_depth_of(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> int | None:
    """Return how many bits the values of a 16-bit image use, or None if it has 8 bits a channel or fewer.

    Args:
        source: a path, or the bytes of an image file.
        name: what to call the image in errors; by default its path.

    Returns the smallest of 8, 10, 12, 14 and 16 that holds the largest value. Raises BadImage as `read_image` does.

    >>> bit_depth_of("xray.png")  # doctest: +SKIP
    12
    """
    name = name or name_of(source)
    limit = pixel_limit()
    data = read_bytes(source, name=name)
    largest = guarded(name, lambda: _largest(data, limit))
    return None if largest is None else next(depth for depth in _DEPTHS if largest < 1 << depth)


def data_bit_depth(paths: Sequence[Path] | None) -> int:
    """Return how many bits the 16-bit images of a data set use: 8, 10, 12, 14 or 16; 16 if it holds none.

    At most 256 files are looked at, evenly spaced, always the same ones; only 16-bit images are decoded. Images that
    cannot be read are left out.

    Args:
        paths: the image files, or None for images that are in memory.

    >>> preprocess = Preprocess(..., bit_depth=data_bit_depth(data.train.paths))  # doctest: +SKIP
    """
    paths = paths or ()
    step = max(1, -(-len(paths) // _MOST_FILES))
    depths = in_threads(_readable_depth, paths[::step], chunk=8)
    return max((depth for depth in depths if depth is not None), default=16)


def bit_depth_note(bit_depth: int) -> str | None:
    """Return the sentence that says how 16-bit images are read, or None if `bit_depth` is 16: all bits are used."""
    if bit_depth == 16:
        return None
    return f"16-bit images use only {bit_depth} bits: values 0 to {(1 << bit_depth) - 1:,} are read as black to white"


def _largest(data: bytes, max_pixels: int) -> int | None:
    """The largest value of a 16-bit image, its opacity left out; None for an image of 8 bits."""
    image = open_header(io.BytesIO(data), max_pixels)
    if image.mode.startswith("I"):
        return int(grey_values(image).max())
    if has_deep_colours(image):
        low = low_bytes(open_header(io.BytesIO(data), max_pixels))
        return int(colour_values(image, low)[..., :3].max())
    return None


def _readable_depth(path: Path) -> int | None:
    try:
        return bit_depth_of(path)
    except BadImage:
        return None
