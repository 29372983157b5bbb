"""Image files that were damaged on purpose, in six formats: always the same ones for a seed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

HUGE = 60_000


def originals() -> dict[str, list[bytes]]:
    """Small files in every format, in the variants that decoders treat differently."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    colour, grey = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels[..., 0])
    opacity, palette = Image.fromarray(pixels), colour.quantize(16)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG": [
            _file(colour, "JPEG"), _file(colour, "JPEG", progressive=True), _file(grey, "JPEG"),
            _file(colour.convert("CMYK"), "JPEG"), _file(colour, "JPEG", exif=exif, subsampling=2),
        ],
        "PNG": [_file(colour, "PNG"), _file(opacity, "PNG"), _file(palette, "PNG"), _file(deep, "PNG")],
        "GIF": [_file(palette, "GIF"), _file(palette, "GIF", save_all=True, append_images=[palette.rotate(90)])],
        "BMP": [_file(colour, "BMP"), _file(palette, "BMP"), _file(grey.convert("1"), "BMP")],
        "WEBP": [_file(colour, "WEBP"), _file(opacity, "WEBP", lossless=True), _file(opacity, "WEBP", exif=exif)],
        "TIFF": [
            _file(colour, "TIFF"), _file(colour, "TIFF", compression="tiff_lzw"), _file(deep, "TIFF"),
            _file(colour, "TIFF", compression="jpeg"), _file(grey, "TIFF", compression="tiff_deflate"),
        ],
    }  # fmt: skip


def mutants(number: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged files, each format as often as the others, with a name that says how each was damaged."""
    files, rng = originals(), random.Random(seed)
    formats = list(files)
    for i in range(number):
        kind = formats[i % len(formats)]
        content, ways = rng.choice(files[kind]), []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if len(content) < 100:  # too little is left
                break
            way = rng.choice(_WAYS)
            content, ways = way(content, rng), [*ways, way.__name__.strip("_")]
        yield f"{i} {kind} {'+'.join(ways)}", content


def liars(side: int = HUGE) -> Iterator[tuple[str, bytes]]:
    """Yield files of each format whose header promises `side` x `side` pixels, or as many as the format can."""
    files = originals()
    for content in files["PNG"]:
        header = struct.pack(">II", side, side) + content[24:29]
        check = zlib.crc32(b"IHDR" + header)
        yield "PNG", content[:16] + header + struct.pack(">I", check) + content[33:]
    for content in files["JPEG"]:
        place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        yield "JPEG", content[: place + 5] + struct.pack(">HH", side, side) + content[place + 9 :]
    for content in files["GIF"]:
        place = content.index(b"\x2c") + 5
        huge = struct.pack("<HH", side, side)
        yield "GIF", content[:6] + huge + content[10:place] + huge + content[place + 4 :]
    for content in files["BMP"]:
        yield "BMP", content[:18] + struct.pack("<ii", side, side) + content[26:]
    lossy = files["WEBP"][0]
    place = lossy.index(b"\x9d\x01\x2a") + 3
    yield "WEBP", lossy[:place] + struct.pack("<HH", min(side, 16_383), min(side, 16_383)) + lossy[place + 4 :]
    for content in files["TIFF"]:
        yield "TIFF", _tiff_of(content, side)


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _tiff_of(content: bytes, side: int) -> bytes:
    """A little-endian TIFF with another width and height."""
    (place,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, place)
    changed = bytearray(content)
    for i in range(entries):
        entry = place + 2 + 12 * i
        if struct.unpack_from("<H", content, entry)[0] in (256, 257):
            struct.pack_into("<HII", changed, entry + 2, 4, 1, side)
    return bytes(changed)


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _in_the_header(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 4))):
        changed[rng.randrange(min(64, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def _lying(content: bytes, rng: random.Random) -> bytes:
    """A number in the header becomes very large, very small or negative."""
    width = rng.choice((2, 4))
    number = rng.choice((0, 1, 0x7FFF, 0xFFFF, 8_000, HUGE, 0x7FFFFFFF, 0xFFFFFFFF)) % (1 << 8 * width)
    place = rng.randrange(4, min(80, len(content) - 4))
    return content[:place] + number.to_bytes(width, rng.choice(("little", "big"))) + content[place + width :]


def _truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(1, len(content))]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randrange(1, 200) :] or b"\0"


def _repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    part = content[start : start + rng.randrange(1, 100)]
    return content[:start] + part * rng.randrange(2, 50) + content[start:]


def _filled(content: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(content)), rng.randrange(1, 100)
    return content[:start] + rng.choice((b"\0", b"\xff")) * length + content[start + length :]


def _with_junk(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 500))


_WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flipped, _in_the_header, _lying, _truncated, _cut_out, _repeated, _filled, _with_junk,
)  # fmt: skip
