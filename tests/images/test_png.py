"""Metadata never costs the picture of a PNG: neither its size nor its damage, and it cannot fill the memory."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, PngImagePlugin

from classicnets.errors import BadImage
from classicnets.images import image_size, read_image
from classicnets.images.png import lean_png
from photos import encode, make_photo

PHOTO = make_photo("square", 7, size=(61, 43))
PIXELS = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)


def texts(**options: Any) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(**options)
    return info


def xmp(text: str, *, zip: bool = False) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text, zip=zip)
    return info


@pytest.mark.parametrize(
    "options",
    [
        {"pnginfo": texts(key="prompt", value="x" * 2_000_000)},
        {"pnginfo": texts(key="prompt", value="x" * 2_000_000, zip=True)},
        {"pnginfo": texts(key="Raw profile type exif", value="x" * 2_000_000, zip=True)},
        {"pnginfo": xmp("x" * 2_000_000)},
        {"pnginfo": xmp("x" * 2_000_000, zip=True)},
        {"icc_profile": os.urandom(2_000_000)},
        {"exif": b"Exif\0\0" + os.urandom(2_000_000)},
    ],
    ids=["text", "compressed text", "raw profile", "XMP", "compressed XMP", "colour profile", "EXIF"],
)
def test_much_metadata_is_no_damage(options: dict[str, Any]) -> None:
    data = encode(PHOTO, "PNG", **options)
    assert torch.equal(read_image(data), PIXELS)
    assert image_size(data) == (43, 61)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "GIF"])
def test_other_formats_with_much_metadata(format: str) -> None:
    segments = 60_000 if format == "JPEG" else 2_000_000
    options: dict[str, Any] = {"icc_profile": os.urandom(2_000_000), "comment": b"x" * segments}
    if format == "WEBP":
        options |= {"lossless": True, "xmp": os.urandom(2_000_000), "exif": b"Exif\0\0" + os.urandom(2_000_000)}
    if format == "JPEG":
        options |= {"xmp": os.urandom(60_000), "exif": b"Exif\0\0" + os.urandom(60_000)}
    data = encode(PHOTO, format, **options)
    assert len(data) > 2_000_000 or format == "GIF"
    assert torch.equal(read_image(data), read_image(encode(PHOTO, format, lossless=True)))


def test_a_bomb_in_the_metadata_takes_no_memory() -> None:
    """A text of 48 MiB in 48 KiB, once under a name that is read for the orientation."""
    body = zlib.compress(bytes(48 << 20), 9)
    for key in (b"prompt", b"Raw profile type exif"):
        data = with_chunk(encode(PHOTO, "PNG"), b"zTXt", key + b"\0\0" + body)
        tracemalloc.start()
        assert torch.equal(read_image(data), PIXELS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20


def with_chunk(data: bytes, kind: bytes, body: bytes, *, before: bytes = b"IDAT") -> bytes:
    place = data.index(before) - 4
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:place] + chunk + data[place:]


@pytest.mark.parametrize(
    "options",
    [{"pnginfo": texts(key="a", value="hello")}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}],
    ids=["text", "EXIF"],
)
@pytest.mark.parametrize("part", [4, 6])
def test_a_flipped_bit_in_the_metadata_is_read_past(options: dict[str, Any], part: int) -> None:
    """As every viewer does. `part` is in the keyword or behind it; the checksum is wrong either way."""
    data = bytearray(encode(PHOTO, "PNG", **options))
    place = max(data.find(b"tEXt"), data.find(b"eXIf"))
    data[place + part] ^= 1
    assert torch.equal(read_image(bytes(data)), PIXELS)
    assert image_size(bytes(data)) == (43, 61)


@pytest.mark.parametrize("chunk", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_a_flipped_bit_in_the_picture_is_damage(chunk: bytes) -> None:
    data = bytearray(encode(PHOTO.convert("P"), "PNG", transparency=0))
    data[data.index(chunk) + 5] ^= 1
    with pytest.raises(BadImage, match="the data is damaged"):
        read_image(bytes(data))


def test_the_orientation_is_found_wherever_it_is() -> None:
    plain = encode(PHOTO, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = torch.rot90(PIXELS, -1, (1, 2))
    for data in (
        encode(PHOTO, "PNG", exif=exif),
        with_chunk(plain, b"eXIf", exif.tobytes()[6:], before=b"IEND"),
        encode(PHOTO, "PNG", pnginfo=xmp('<x tiff:Orientation="6"/>')),
        encode(PHOTO, "PNG", pnginfo=texts(key="prompt", value="x" * 2_000_000, zip=True), exif=exif),
        encode(
            PHOTO,
            "PNG",
            pnginfo=texts(key="Raw profile type exif", value="\nexif\n  30\n" + exif.tobytes().hex(), zip=True),
        ),
    ):
        assert torch.equal(read_image(data), upright)
        assert image_size(data) == (61, 43)


def test_the_size_is_read_without_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert image_size(encode(PHOTO, "PNG")) == (43, 61)


def test_what_is_kept() -> None:
    data = encode(PHOTO.convert("P"), "PNG", pnginfo=texts(key="a", value="b"), transparency=0, icc_profile=b"abc")
    assert sorted(kinds(data)) == [b"IDAT", b"IEND", b"IHDR", b"PLTE", b"iCCP", b"tEXt", b"tRNS"]
    assert kinds(lean_png(io.BytesIO(data))) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    assert kinds(lean_png(io.BytesIO(data), pixels=False)) == [b"IHDR", b"PLTE", b"tRNS", b"IEND"]
    foreign = with_chunk(data, b"ABCD", b"a critical chunk that no decoder knows")
    assert kinds(lean_png(io.BytesIO(foreign))) == [b"IHDR", b"PLTE", b"tRNS", b"ABCD", b"IDAT", b"IEND"]


def kinds(data: bytes) -> list[bytes]:
    place, found = 8, []
    while place < len(data):
        found.append(data[place + 4 : place + 8])
        place += 12 + int.from_bytes(data[place : place + 4])
    return found


def test_a_file_of_too_many_pieces_is_refused_at_once() -> None:
    data = encode(PHOTO, "PNG")
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    place = data.index(b"IDAT") - 4
    few, many = (data[:place] + empty * number + data[place:] for number in (1_000, 100_001))
    assert torch.equal(read_image(few), PIXELS)
    with pytest.raises(BadImage, match="more than 100,000 pieces"):
        read_image(many, name="many")
