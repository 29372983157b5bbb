"""Metadata of a PNG that could cost the picture: Pillow refuses a file for what its text or colour profile holds."""

from __future__ import annotations

import itertools
import os
from typing import IO

from classicnets.images.source import RefusedError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ORIENTATION = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # keywords of the texts that may hold it
_MOST_METADATA = 1 << 20
_MOST_CHUNKS = 100_000  # each takes a step of Python; a file of 100 MB in pieces of 1 KiB has as many
_MOST_BYTES = 1 << 29  # of a chunk: a damaged length must not ask for more memory


def lean_png(file: IO[bytes], *, metadata: bool = True, pixels: bool = True) -> bytes:
    """Return a PNG with the chunks that make the picture, in their order, and no others.

    Args:
        file: the PNG, at its start.
        metadata: keep what may hold the EXIF orientation too, up to 1 MiB, and put it before the pixels.
        pixels: keep the pixels; otherwise only the header is left, and the file's pixels are not read.

    Raises RefusedError for more than 100,000 chunks.
    """
    before: list[bytes] = [file.read(len(SIGNATURE))]
    kept: list[bytes] = []
    after: list[bytes] = []
    place = before
    for number in itertools.count():
        if len(head := file.read(8)) < 8:
            break
        if number == _MOST_CHUNKS:
            raise RefusedError(f"the data is damaged (it is in more than {_MOST_CHUNKS:,} pieces)")
        length, kind = int.from_bytes(head[:4]), head[4:]
        size = min(length + 4, _MOST_BYTES)  # with the checksum
        if kind == b"IDAT":
            place = after
        if kind in _PICTURE or _is_critical(kind):
            if kind == b"IDAT" and not pixels:
                file.seek(size, os.SEEK_CUR)
            else:
                place += [head, file.read(size)]
        elif metadata and size <= _MOST_METADATA and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            body = file.read(size)
            if kind == b"eXIf" or body.startswith(_ORIENTATION):
                kept += [head, body]
        else:
            file.seek(size, os.SEEK_CUR)
        if kind == b"IEND":
            break
    return b"".join(before + kept + after)


def _is_critical(kind: bytes) -> bool:
    """Whether a decoder must understand a chunk of this kind: the first letter is a capital."""
    return not kind[0] & 0x20
