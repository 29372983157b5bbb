"""What an image can be given as: every form gives the same picture, and anything else is a BadImage that says so."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from classicnets.errors import BadImage
from classicnets.images import image_size, name_of, read_bytes, read_image, read_pixels
from photos import encode, make_photo

PHOTO = make_photo("square", 7, size=(61, 43))
PIXELS = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)
CONTENT = encode(PHOTO, "PNG")


def written(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize(
    "give",
    [
        str,
        lambda path: path,
        lambda path: PurePath(path),
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
        lambda path: path.open("rb", buffering=0),
        lambda path: Image.open(path),
        lambda path: PHOTO.copy(),
        lambda path: np.array(PHOTO),
        lambda path: np.asarray(PHOTO),  # not writable
        lambda path: np.asfortranarray(PHOTO),
        lambda path: np.array(PHOTO)[:, ::-1][:, ::-1],
        lambda path: PIXELS,
        lambda path: PIXELS.contiguous(),
    ],
)
def test_every_form_gives_the_same(give: Any, tmp_path: Path) -> None:
    source = give(written(tmp_path))
    image = read_image(source)
    assert torch.equal(image, PIXELS)
    assert image.is_contiguous()
    image[:] = 0  # it is the caller's
    assert image_size(source) == (43, 61)
    assert torch.equal(torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1), PIXELS)
    if hasattr(source, "close"):
        source.close()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decoded_pixels_are_channels_last_and_the_callers(format: str, orientation: int) -> None:
    """Resizing needs this order, and a change of order takes longer than decoding."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encode(PHOTO, format, exif=exif)
    decoded = read_pixels(content)
    assert decoded.transpose(1, 2, 0).flags.c_contiguous
    assert np.array_equal(decoded, read_image(content))
    decoded[:] = 0
    assert not np.array_equal(decoded, read_image(content))


@pytest.mark.parametrize(
    "give",
    [
        lambda grey: Image.fromarray(grey),
        lambda grey: grey,
        lambda grey: grey[..., None],
        lambda grey: torch.from_numpy(grey),
        lambda grey: torch.from_numpy(grey)[None],
    ],
)
def test_grey_becomes_three_channels(give: Any) -> None:
    grey = np.array(PHOTO.convert("L"))
    expected = torch.from_numpy(grey).expand(3, -1, -1)
    assert torch.equal(read_image(give(grey)), expected)
    assert image_size(give(grey)) == (43, 61)


def test_a_file_object_is_read_from_its_start_again_and_again() -> None:
    file = io.BytesIO()
    PHOTO.save(file, "PNG")  # which leaves it at its end
    for _ in range(2):
        assert torch.equal(read_image(file), PIXELS)
    assert not file.closed


def test_a_stream_that_cannot_be_rewound() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(CONTENT)
    with os.fdopen(reader, "rb") as file:
        assert torch.equal(read_image(file), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_pil_image_is_turned_like_its_file(format: str, orientation: int, loaded: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, format, exif=exif)
    image = Image.open(io.BytesIO(data))
    if loaded:
        image.load()
    assert (read_image(image).int() - read_image(data).int()).abs().max() <= 1
    assert image_size(image) == image_size(data)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert torch.equal(read_image(turned), read_image(image)), "what was turned before is not turned twice"


def test_a_pil_image_is_converted_like_its_file() -> None:
    glass = Image.new("RGBA", (2, 1), (0, 0, 0, 51))
    deep = Image.fromarray(np.array([[0x1234, 0xFFFF]], np.uint16))
    palette = PHOTO.convert("P")
    for image in (glass, deep, palette, PHOTO.convert("CMYK")):
        format = "TIFF" if image.mode == "CMYK" else "PNG"
        assert torch.equal(read_image(image), read_image(encode(image, format)))
    before = glass.tobytes()
    read_image(glass)
    assert (glass.mode, glass.tobytes()) == ("RGBA", before)
    with pytest.raises(BadImage, match="floating-point numbers"):
        read_image(Image.new("F", (2, 2)))


ALLOWED = "an image is a path, the bytes of an image file, .*a PIL image, a uint8 array .* or a uint8 tensor"


@pytest.mark.parametrize(
    ("source", "got"),
    [
        (torch.rand(3, 8, 8), r"got a tensor, float32 \(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"got a tensor, uint8 \(1, 3, 8, 8\)"),
        (torch.zeros(8, dtype=torch.uint8), r"got a tensor, uint8 \(8,\)"),
        (np.zeros((8, 8, 3)), r"got an array, float64 \(8, 8, 3\)"),
        (np.zeros((8, 8), np.uint16), r"got an array, uint16 \(8, 8\)"),
        (np.zeros((3, 8, 8), np.uint8), r"got an array, uint8 \(3, 8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"got an array, uint8 \(8, 8, 4\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"got an array, uint8 \(2, 8, 8, 3\)"),
        (None, "got an object of type NoneType"),
        (7, "got an object of type int"),
        (["cat.jpg"], "got an object of type list"),
        (object(), "got an object of type object"),
    ],
)
@pytest.mark.parametrize("read", [read_image, image_size])
def test_anything_else_is_named(read: Any, source: Any, got: str) -> None:
    with pytest.raises(BadImage, match=f"^the image: {got}; {ALLOWED}"):
        read(source)


@pytest.mark.parametrize("shape", [(3, 0, 8), (3, 8, 0), (0, 8), (0, 8, 8)])
def test_no_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match="which has no pixels"):
        read_image(torch.zeros(shape, dtype=torch.uint8))
    if len(shape) == 2:
        with pytest.raises(BadImage, match="which has no pixels"):
            read_image(np.zeros(shape, np.uint8))


def test_channels_that_are_no_colour() -> None:
    with pytest.raises(BadImage, match=r"tensor of 4 channels; a tensor must be \(3, H, W\), \(1, H, W\) or \(H, W\)"):
        read_image(torch.zeros(4, 8, 8, dtype=torch.uint8))


def test_file_objects_that_give_no_bytes(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open() as text, pytest.raises(BadImage, match=r"cat.png: .*opened as text; open it in binary mode"):
        read_image(text)
    file = path.open("rb")
    file.close()
    with pytest.raises(BadImage, match=r"cat.png: the file object is closed"):
        read_image(file)
    with pytest.raises(BadImage, match="the file is empty"):
        read_image(io.BytesIO())

    class Odd:
        def read(self, size: int) -> Any:
            return "text"

    with pytest.raises(BadImage, match=r"read\(\) of the file object gave an object of type str; it must give bytes"):
        read_bytes(Odd())  # type: ignore[arg-type]


def test_names(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("rb") as file, tempfile.TemporaryFile() as nameless, Image.open(path) as opened:
        names = [name_of(source, "image 3") for source in (str(path), path, file, opened)]
        assert names == [str(path)] * 4
        for source in (nameless, io.BytesIO(), PHOTO, b"", np.zeros((2, 2)), PIXELS, None):
            assert name_of(source, "image 3") == "image 3"
