"""Decode a JPEG with simplejpeg, which is fast and, unlike Pillow, refuses damaged data instead of guessing."""

from __future__ import annotations

import io
import re

import numpy as np
import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from classicnets.images.source import RefusedError

SIGNATURE = b"\xff\xd8\xff"

_MARKER = re.compile(rb"\xff+[^\x00\xff]")  # in a scan, 0xff followed by 0 is data
_END, _SCAN, _RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
_RESTARTS = range(0xD0, 0xD8)
_MOST_SCANS = 50  # a picture has 10 or so, and each goes through all of its blocks
_READ_AHEAD = 9  # bytes: the decoder fills a register of 64 bits before it needs them all
_AFTER_SCAN = {0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, scans, comments, application data


def decode_jpeg(data: bytes, colours: str, size: tuple[int, int]) -> np.ndarray | None:
    """Return the pixels, uint8 (H, W, C), at the smallest scale that is not below `size`, (height, width).

    `colours` is "RGB" or "CMYK". Returns None if simplejpeg does not know the file's chroma sampling: Pillow decodes
    such a file, whose scans have been checked here. Raises ValueError or RefusedError if the data is damaged.
    """
    if data.count(bytes((0xFF, _SCAN))) > _MOST_SCANS and _has_many_scans(data):
        raise RefusedError(f"it has more than {_MOST_SCANS} scans, which would take too long")
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, colours, min_height=size[0], min_width=size[1])
        return pixels
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
    _check_scans(data)
    return None


def _has_many_scans(data: bytes) -> bool:
    """Whether the picture has too many scans; those of other pictures in its metadata or behind it do not count."""
    position, scans = 2, 0
    while scans <= _MOST_SCANS and (found := _MARKER.search(data, position)):
        marker, position = data[found.end() - 1], found.end()
        if marker == _END:
            return False
        if marker not in _RESTARTS:
            position += int.from_bytes(data[position : position + 2])
        scans += marker == _SCAN
    return scans > _MOST_SCANS


def _check_scans(data: bytes) -> None:
    """Raise RefusedError if the scans are damaged: Pillow paints over markers in wrong places and missing data."""
    position, scans, restarts_used = 2, 0, False
    while data[position : position + 2] != bytes((0xFF, _END)):
        if position + 4 > len(data) or data[position] != 0xFF:
            raise RefusedError(f"the data is damaged (no marker at byte {position:,})")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        if marker == _RESTART_INTERVAL:
            restarts_used = data[position + 4 : position + 6] != b"\0\0"
        position += 2 + length
        if marker == _SCAN:
            scans += 1
            position = _end_of_scan(data, position, restarts_used)
    if scans == 1:
        _check_length(data[:position])


def _check_length(data: bytes) -> None:
    """Raise RefusedError if the only scan, which ends the data, is shorter or longer than the picture needs."""
    if _is_enough(data[:-_READ_AHEAD]) or not _is_enough(data + b"\xff\0" * _READ_AHEAD):
        raise RefusedError("the data is damaged (the scan is longer or shorter than the image)")


def _is_enough(data: bytes) -> bool:
    """Whether Pillow gets to the last pixel before the data ends."""
    try:
        image = JpegImageFile(io.BytesIO(data))
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    except Exception:
        return False
    return True


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
