"""16-bit images that use few of their bits are read by the bits that the whole data set uses."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from classicnets.data import ImageSet
from classicnets.errors import BadImage
from classicnets.images import bit_depth_note, bit_depth_of, data_bit_depth, read_image
from photos import encode, make_photo

PHOTO = make_photo("disc", 3)


def grey(most: int, dtype: type = np.uint16) -> Image.Image:
    """A grey image with values 0 to `most`."""
    return Image.fromarray(np.linspace(0, most, 48).round().reshape(6, 8).astype(dtype))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("most", "bits"), [(0, 8), (255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14), (16383, 14), (65535, 16)]
)
def test_the_bits_that_are_used(format: str, most: int, bits: int) -> None:
    assert bit_depth_of(encode(grey(most), format)) == bits


def test_32_bit_files_of_small_numbers() -> None:
    data = encode(grey(255, np.int32), "TIFF")
    assert bit_depth_of(data) == 8
    assert read_image(data, bit_depth=8)[0].max() == 255
    with pytest.raises(BadImage, match="range is not known"):
        bit_depth_of(encode(grey(1_000_000, np.int32), "TIFF"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "GIF"])
def test_8_bit_files_have_none(format: str) -> None:
    data = encode(PHOTO, format)
    assert bit_depth_of(data) is None
    assert torch.equal(read_image(data, bit_depth=8), read_image(data)), "and do not depend on it"


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", range(8, 17))
def test_the_8_highest_bits_are_kept(format: str, bits: int) -> None:
    image = grey((1 << bits) - 1)
    expected = torch.from_numpy((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    assert torch.equal(read_image(encode(image, format), bit_depth=bits)[0], expected)
    assert torch.equal(read_image(image, bit_depth=bits)[0], expected), "of a PIL image too"


def test_values_beyond_are_white() -> None:
    seen = read_image(encode(Image.fromarray(np.array([[4095, 4096, 65535]], np.uint16)), "PNG"), bit_depth=12)
    assert seen[0].tolist() == [[255, 255, 255]]


def colours(bits: int, channels: int = 3) -> np.ndarray:
    """16-bit colours that use some of their bits; a fourth channel is opaque."""
    values = np.random.default_rng(0).integers(0, 1 << bits, (6, 8, 3)).astype(np.uint16)
    values[0, 0] = (1 << bits) - 1
    opaque = np.full((6, 8, channels - 3), 65535, np.uint16)
    return np.concatenate([values, opaque], axis=2)


def deep_png(values: np.ndarray) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray, order: str, *, deflate: bool = False) -> bytes:
    """A TIFF of one strip. `order` is "<" or ">"."""
    height, width, channels = values.shape
    strip = values.astype(f"{order}u2").tobytes()
    strip = zlib.compress(strip) if deflate else strip
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 8), (259, 3, 1, 8 if deflate else 1),
        (262, 3, 1, 2), (273, 4, 1, 16), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(strip)),
    ]  # fmt: skip
    body = struct.pack(f"{order}{channels}H", *[16] * channels).ljust(8, b"\0") + strip
    body += b"\0" * (len(body) % 2)
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        single = struct.pack(f"{order}H2x" if kind == 3 and count == 1 else f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + single
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}I", 8 + len(body)) + body + directory + bytes(4)


@pytest.mark.parametrize(
    "make",
    [
        deep_png,
        lambda values: deep_tiff(values, "<"),
        lambda values: deep_tiff(values, ">"),
        lambda values: deep_tiff(values, "<", deflate=True),
        lambda values: deep_tiff(values, ">", deflate=True),
    ],
    ids=["png", "tiff", "big-endian tiff", "deflated tiff", "deflated big-endian tiff"],
)
def test_colours_have_their_bits_counted_too(make: object) -> None:
    """Pillow gives the high bytes only."""
    values = colours(12)
    data = make(values)
    assert bit_depth_of(data) == 12
    assert np.array_equal(read_image(data, bit_depth=12).permute(1, 2, 0).numpy(), values >> 4)
    assert np.array_equal(read_image(data).permute(1, 2, 0).numpy(), values >> 8)
    assert np.array_equal(read_image(data).permute(1, 2, 0).numpy(), np.asarray(Image.open(io.BytesIO(data))))


def test_opacity_always_has_16_bits() -> None:
    values = colours(12, channels=4)
    values[0, 1, 3] = 0
    data = deep_png(values)
    assert bit_depth_of(data) == 12
    expected = values[..., :3] >> 4
    expected[0, 1] = 255
    assert np.array_equal(read_image(data, bit_depth=12).permute(1, 2, 0).numpy(), expected)


def write(folder: Path, images: dict[str, bytes]) -> list[Path]:
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in images]


def test_a_data_set_uses_what_its_brightest_image_uses(tmp_path: Path) -> None:
    images = {f"{i}.png": encode(grey(most), "PNG") for i, most in enumerate((90, 700, 3000, 1200))}
    paths = write(tmp_path, images)
    assert data_bit_depth(paths) == 12
    assert data_bit_depth(paths[:1]) == 8
    others = write(tmp_path, {"a.jpg": encode(PHOTO), "text.png": b"no image"})
    assert data_bit_depth([*others, *paths, tmp_path / "absent.png"]) == 12


def test_without_16_bit_images_nothing_changes(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jpg": encode(PHOTO), "b.png": encode(PHOTO, "PNG")})
    assert data_bit_depth(paths) == data_bit_depth([]) == data_bit_depth(None) == 16


def test_few_files_of_many_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write(tmp_path, {"a.png": encode(grey(4095), "PNG")})
    seen: list[Path] = []
    monkeypatch.setattr("classicnets.images.bit_depth.bit_depth_of", lambda path: seen.append(path) or 12)
    assert data_bit_depth([path] * 10_000) == 12
    assert 200 < len(seen) <= 256


def test_a_set_of_files_reads_all_its_images_with_its_own_bit_depth(tmp_path: Path) -> None:
    """A dark image of a 12-bit set stays dark, and no 12-bit image comes out nearly black."""
    files = {f"{i}.png": encode(grey(most), "PNG") for i, most in enumerate((90, 700, 3000, 1200))}
    paths = tuple(write(tmp_path, files))
    images = ImageSet(("x",), torch.zeros(4, dtype=torch.int64), tuple(files), paths=paths)
    assert images.bit_depth == 12
    for i, path in enumerate(paths):
        assert torch.equal(images.image(i), read_image(path, bit_depth=12))
    assert images.image(2).max() > 150
    in_memory = ImageSet(("x",), torch.zeros(1, dtype=torch.int64), ("0",), images=torch.zeros(1, 1, 8, 8).byte())
    assert in_memory.bit_depth == 16


def test_the_sentence_for_people() -> None:
    assert bit_depth_note(16) is None
    assert bit_depth_note(12) == "16-bit images use only 12 bits: values 0 to 4,095 are read as black to white"
