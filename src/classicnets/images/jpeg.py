"""Decode a JPEG with simplejpeg, which is fast and, unlike Pillow, refuses damaged data instead of guessing."""

from __future__ import annotations

import re

import numpy as np
import simplejpeg

from classicnets.images.source import RefusedError

SIGNATURE = b"\xff\xd8\xff"

_MARKER = re.compile(rb"\xff+[^\x00\xff]")  # in a scan, 0xff followed by 0 is data
_END, _SCAN, _RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
_RESTARTS = range(0xD0, 0xD8)
_AFTER_SCAN = {0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, scans, comments, application data


def decode_jpeg(data: bytes, colours: str, size: tuple[int, int]) -> np.ndarray | None:
    """Return the pixels, uint8 (H, W, C), at the smallest scale that is not below `size`, (height, width).

    `colours` is "RGB" or "CMYK". Returns None if simplejpeg does not know the file's chroma sampling: Pillow decodes
    such a file, whose scans have been checked here. Raises ValueError or RefusedError if the data is damaged.
    """
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, colours, min_height=size[0], min_width=size[1])
        return pixels
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
    _check_scans(data)
    return None


def _check_scans(data: bytes) -> None:
    """Raise RefusedError if a scan holds a marker that does not belong there: Pillow paints over such damage."""
    position, restarts_used = 2, False
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise RefusedError(f"the data is damaged (no marker at byte {position:,})")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == _END:
            return
        length = int.from_bytes(data[position + 2 : position + 4])
        if marker == _RESTART_INTERVAL:
            restarts_used = data[position + 4 : position + 6] != b"\0\0"
        position += 2 + length
        if marker == _SCAN:
            position = _end_of_scan(data, position, restarts_used)
    if data[position : position + 2] != bytes((0xFF, _END)):
        raise RefusedError("the data is damaged (the end of the image is missing)")


def _end_of_scan(data: bytes, start: int, restarts_used: bool) -> int:
    """The place of the marker that ends a scan."""
    restarts = 0
    for found in _MARKER.finditer(data, start):
        marker = data[found.end() - 1]
        if restarts_used and marker == _RESTARTS[restarts % 8]:
            restarts += 1
        elif marker == _END or marker in _AFTER_SCAN:
            return found.end() - 2
        else:
            raise RefusedError(f"the data is damaged (marker 0x{marker:02x} at byte {found.end() - 2:,})")
    raise RefusedError("the data is damaged (the end of the image is missing)")
