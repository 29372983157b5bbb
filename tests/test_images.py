"""Every kind of image that a folder may hold: a defined picture, or a BadImage that names it and says why."""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from classicnets.errors import BadImage, ConfigError, DataError
from classicnets.images import (
    find_images,
    image_size,
    read_bytes,
    read_image,
    within_limit,
)
from photos import encode, make_photo

PHOTO = make_photo("square", 7, size=(61, 43))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def difference(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF"])
def test_what_pillow_decodes_is_what_pillow_shows(format: str) -> None:
    data = encode(PHOTO, format, **({"lossless": True} if format == "WEBP" else {}))
    image = read_image(data)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert torch.equal(image, pixels(Image.open(io.BytesIO(data))))
    assert image_size(data) == (43, 61) == tuple(image.shape[1:])


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_agrees_with_pillow_to_one_level(quality: int, subsampling: str, progressive: bool) -> None:
    data = encode(PHOTO, quality=quality, subsampling=subsampling, progressive=progressive)
    assert difference(read_image(data), pixels(Image.open(io.BytesIO(data)))) <= 1


def test_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(PHOTO))
    assert torch.equal(read_image(tmp_path / "a.jpg"), read_image(encode(PHOTO)))
    assert torch.equal(read_image(str(tmp_path / "a.jpg")), read_image(encode(PHOTO)))
    assert image_size(tmp_path / "a.jpg") == (43, 61)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    """Against the definition of the tag: where the first row and the first column of the file belong."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}}.get(format, {})
    array = read_image(encode(PHOTO, format, **options)).permute(1, 2, 0).numpy()
    rows_and_columns = {
        1: array,  # top, left
        2: array[:, ::-1],  # top, right
        3: array[::-1, ::-1],  # bottom, right
        4: array[::-1],  # bottom, left
        5: array.transpose(1, 0, 2),  # left, top
        6: np.rot90(array, -1),  # right, top
        7: array[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: np.rot90(array),  # left, bottom
    }
    data = encode(PHOTO, format, exif=exif, **options)
    upright = torch.from_numpy(rows_and_columns[orientation].copy()).permute(2, 0, 1)
    assert torch.equal(read_image(data), upright)
    assert image_size(data) == tuple(upright.shape[1:])


@pytest.mark.parametrize("orientation", [0, 9, 77, 65535])
def test_meaningless_orientation_is_left_alone(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(read_image(encode(PHOTO, exif=exif)), read_image(encode(PHOTO)))


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = encode(PHOTO)
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff garbage"
    broken = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert torch.equal(read_image(broken), read_image(data))
    assert image_size(broken) == (43, 61)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(format: str) -> None:
    data = encode(PHOTO.convert("L"), format)
    image = read_image(data)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    assert difference(image, pixels(Image.open(io.BytesIO(data)))) <= 1


def test_cmyk_jpeg_is_converted_to_rgb() -> None:
    """simplejpeg would leave out Adobe's inversion; Pillow's conversion counts."""
    data = encode(PHOTO.convert("CMYK"), quality=95, subsampling=0)
    assert simplejpeg.decode_jpeg_header(data)[2] == "CMYK"
    assert difference(read_image(data), pixels(Image.open(io.BytesIO(data)))) <= 1
    assert (read_image(data).int() - pixels(PHOTO).int()).abs().float().mean() < 6


def test_cmyk_tiff_is_converted_to_rgb() -> None:
    assert torch.equal(read_image(encode(PHOTO.convert("CMYK"), "TIFF")), pixels(PHOTO))


def test_rgb_jpeg_without_colour_transform() -> None:
    data = encode(PHOTO, quality=95, keep_rgb=True)
    assert simplejpeg.decode_jpeg_header(data)[2] == "RGB"
    assert difference(read_image(data), pixels(Image.open(io.BytesIO(data)))) <= 1


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_high_byte(format: str) -> None:
    values = np.arange(256 * 4, dtype=np.uint16).reshape(16, 64) * 64 + 13
    image = read_image(encode(Image.fromarray(values), format))
    assert torch.equal(image[0], torch.from_numpy((values >> 8).astype(np.uint8)))
    assert torch.equal(image[0], image[2])


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    values = (np.arange(8 * 6 * 3).reshape(8, 6, 3) * 450).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    image = read_image(png(6, 8, rows, depth=16, colour=2))
    assert torch.equal(image, torch.from_numpy((values >> 8).astype(np.uint8)).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_range_are_refused(mode: str) -> None:
    values = np.array([[0, 1_000_000]], dtype=np.int32 if mode == "I" else np.float32)
    with pytest.raises(BadImage, match="range is not known; save it with 8 or 16 bits"):
        read_image(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 51))
    seen = read_image(encode(image.convert(mode), "PNG"))
    assert seen[:, 0, 0].tolist() == [0, 0, 0]
    assert seen[:, 0, 1].tolist() == [204, 204, 204]  # 255 * (1 - 51 / 255)


def test_palette_with_alpha_is_laid_over_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    seen = read_image(encode(image, "PNG", transparency=bytes([255, 0, 51])))
    assert seen.permute(1, 2, 0).tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 255]]]


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
def test_a_transparent_colour_is_white(mode: str, key: object) -> None:
    image = Image.new(mode, (2, 1), 0 if mode != "RGB" else (0, 0, 0))
    image.putpixel((1, 0), 255 if mode != "RGB" else (200, 0, 0))
    seen = read_image(encode(image, "PNG", transparency=key))
    assert seen[:, 0, 0].tolist() == [255, 255, 255]
    assert seen[:, 0, 1].tolist() == ([200, 0, 0] if mode == "RGB" else [255, 255, 255])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_bands_do_not_show(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large image is converted in parts, from the first row to the last."""
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    options = {"transparency": 3} if mode == "P" else {}
    data = encode(image.convert(mode), "TIFF" if mode in ("CMYK", "YCbCr") else "PNG", **options)
    whole = read_image(data)
    monkeypatch.setattr("classicnets.images.decode._BAND", 5 * PHOTO.width + 1)
    assert torch.equal(read_image(data), whole)
    assert whole.float().std() > 10


def test_bilevel_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert read_image(encode(image, "PNG"))[0].tolist() == [[0, 255]]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_many(format: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert torch.equal(read_image(data), pixels(frames[0]))


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(PHOTO))
    (tmp_path / "drawing.jpg").write_bytes(encode(PHOTO, "PNG"))
    assert torch.equal(read_image(tmp_path / "photo.png"), read_image(encode(PHOTO)))
    assert torch.equal(read_image(tmp_path / "drawing.jpg"), pixels(PHOTO))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"cmyk": True}], ids=str)
@pytest.mark.parametrize("left", [0.3, 0.6, 0.95])
def test_truncated_jpeg_is_refused(options: dict[str, bool], left: float) -> None:
    image = make_photo("disc", 1, size=(200, 160))
    image = image.convert("CMYK") if options.pop("cmyk", False) else image
    data = encode(image, **options)
    with pytest.raises(BadImage, match=r"^cat: the data is damaged|^cat: this is not an image"):
        read_image(data[: int(left * len(data))], name="cat")


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated_file_is_refused(format: str) -> None:
    data = encode(make_photo("disc", 1, size=(200, 160)), format)
    with pytest.raises(BadImage, match=r"^cat: "):
        read_image(data[: len(data) // 2], name="cat")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_damaged_inside_is_refused(mode: str) -> None:
    """Pillow paints over it without a word."""
    data = bytearray(encode(make_photo("stripes", 1, size=(200, 160)).convert(mode)))
    middle = len(data) // 2
    data[middle : middle + 2] = b"\xff\xd3"  # a restart marker where none belongs
    Image.open(io.BytesIO(bytes(data))).load()
    with pytest.raises(BadImage, match="the data is damaged"):
        read_image(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"This is a text file.\n" * 30,
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"GIF89a" + b"\xff" * 50,
        b"II*\0" + b"\xff" * 60,
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(40),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"P6 5 5 255\n",
        b"BM" + b"\xff" * 60,
    ],
    ids=["text", "soi", "jpeg zeros", "png zeros", "gif", "tiff", "webp", "postscript", "ppm", "bmp"],
)
def test_hostile_or_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadImage, match=r"^pets/cat.jpg: "):
        read_image(data, name="pets/cat.jpg")
    with pytest.raises(BadImage, match=r"^the image: "):
        read_image(data)


def test_flipped_bytes_give_an_image_or_a_bad_image() -> None:
    """Whatever a damaged file does to a decoder, nothing but BadImage comes out; warnings are errors here."""
    random = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        whole = np.frombuffer(encode(PHOTO, format), np.uint8)
        for _ in range(60):
            data = whole.copy()
            places = random.integers(0, min(len(data), 400), 3)
            data[places] = random.integers(0, 256, 3)
            try:
                image = read_image(data.tobytes())
            except BadImage:
                continue
            assert image.shape[0] == 3


def png(width: int, height: int, rows: bytes = b"", *, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of that header and those filtered rows, whatever they are."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(encode(PHOTO))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("make", [png, jpeg_claiming])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_fifty_thousand_squared_is_refused_by_its_header(make: object, read: object, monkeypatch: object) -> None:
    monkeypatch.setattr(simplejpeg, "decode_jpeg", _must_not_run)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", _must_not_run)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadImage, match="is 50,000 x 50,000 pixels; the limit is 64,000,000 pixels"):
        read(make(50_000, 50_000))
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("make", [png, jpeg_claiming])
def test_the_limit_is_the_callers(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_image(encode(PHOTO), max_pixels=61 * 43).shape == (3, 43, 61)
    with pytest.raises(BadImage, match="is 61 x 43 pixels; the limit is 2,622 pixels"):
        read_image(encode(PHOTO), max_pixels=61 * 43 - 1)
    # Pillow would warn about this one; that would be an error here.
    with pytest.raises(BadImage, match="is 10,000 x 9,500 pixels"):
        image_size(make(10_000, 9_500), max_pixels=23_000_000)
    assert image_size(make(10_000, 9_500), max_pixels=100_000_000) == (9_500, 10_000)
    monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", "23000000")
    with pytest.raises(BadImage, match=r"is 23,000,000 pixels \(set the environment variable CLASSICNETS_MAX_PIXELS"):
        image_size(make(10_000, 9_500))
    monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", "400000000")
    assert image_size(make(20_000, 19_500)) == (19_500, 20_000)


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "1e8"])
def test_a_limit_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", text)
    with pytest.raises(ConfigError, match=f"must be a whole number of pixels above 0, .*; got '{text}'"):
        read_image(encode(PHOTO))


def test_the_limit_is_for_the_pixels_that_are_decoded() -> None:
    """A JPEG may have four times as many, if it is decoded at a half or less; a PNG may not."""
    data = encode(PHOTO)
    assert image_size(data, max_pixels=700) == (43, 61)
    assert read_image(data, max_pixels=700, reduction=lambda height, width: 2).shape == (3, 22, 31)
    assert read_image(data, max_pixels=700, reduction=lambda height, width: 8).shape == (3, 6, 8)
    with pytest.raises(BadImage, match="is 61 x 43 pixels; the limit is 700 pixels"):
        read_image(data, max_pixels=700)
    with pytest.raises(BadImage, match="is 61 x 43 pixels; the limit is 600 pixels"):
        read_image(data, max_pixels=600, reduction=lambda height, width: 8)
    for read in (read_image, image_size):
        with pytest.raises(BadImage, match="is 61 x 43 pixels; the limit is 700 pixels"):
            read(encode(PHOTO, "PNG"), max_pixels=700)


def test_within_limit_reads_any_jpeg_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_image(encode(PHOTO), reduction=within_limit).shape == (3, 43, 61)
    monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", "700")
    assert read_image(encode(PHOTO), reduction=within_limit).shape == (3, 22, 31)


def _must_not_run(*arguments: object, **options: object) -> None:
    raise AssertionError("pixels were decoded")


@pytest.mark.parametrize("read", [read_image, image_size, read_bytes])
def test_what_is_no_file(read: object, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {
        "absent.jpg": "no such file or directory",
        "empty.jpg": "the file is empty",
        "folder.jpg": "this is a folder, not a file",
        "loop.jpg": "too many levels of symbolic links",
        "pipe.jpg": "this is not a regular file",
    }
    for name, reason in reasons.items():
        with pytest.raises(BadImage) as caught:
            read(tmp_path / name, name=name)
        assert (caught.value.name, caught.value.reason) == (name, reason)
    with pytest.raises(BadImage, match="the file is empty"):
        read_image(b"")


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(BadImage, match="the file has 1,000,000,000,000 bytes"):
        read_image(tmp_path / "huge.jpg")


@pytest.mark.parametrize("read", [read_image, image_size])
def test_unreadable_file(read: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of the system call, since the tests may run as root, who may read everything."""
    (tmp_path / "a.jpg").write_bytes(encode(PHOTO))

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BadImage, match=r"a.jpg: permission denied"):
        read(tmp_path / "a.jpg")


def test_no_file_is_held_open(tmp_path: Path) -> None:
    for name, format in (("a.jpg", "JPEG"), ("b.png", "PNG"), ("c.tif", "TIFF")):
        (tmp_path / name).write_bytes(encode(PHOTO, format))
    (tmp_path / "d.png").write_bytes(encode(PHOTO, "PNG")[:200])
    before = os.listdir("/proc/self/fd")
    for path in sorted(tmp_path.iterdir()):
        for read in (read_image, image_size):
            try:
                read(path)
            except BadImage:
                assert path.name == "d.png"
    assert os.listdir("/proc/self/fd") == before


def test_many_threads_at_once_leave_the_warnings_filters_as_they_were() -> None:
    data = [encode(PHOTO), encode(PHOTO, "PNG"), encode(PHOTO, "TIFF")] * 40
    expected = [read_image(d) for d in data[:3]]
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_image, data))
    assert all(torch.equal(image, expected[i % 3]) for i, image in enumerate(images))
    assert warnings.filters == before
    assert threading.active_count() < 50


def test_bad_image_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BadImage("cat.jpg", "the file is empty")))
    assert (error.name, error.reason, str(error)) == ("cat.jpg", "the file is empty", "cat.jpg: the file is empty")


class TestFindImages:
    def test_sorted_by_suffix_without_hidden(self, tmp_path: Path) -> None:
        names = ["b.JPG", "a.png", "deep/er/c.Jpeg", ".hidden.jpg", ".git/d.jpg", "__MACOSX/e.jpg", "notes.txt", "f"]
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
        assert found == ["a.png", "b.JPG", "deep/er/c.Jpeg"]

    def test_links_are_followed_and_loops_end(self, tmp_path: Path) -> None:
        (tmp_path / "data/cats").mkdir(parents=True)
        (tmp_path / "data/dogs").mkdir()
        (tmp_path / "elsewhere").mkdir()
        for name in ("data/cats/a.jpg", "data/dogs/b.jpg", "elsewhere/c.jpg"):
            (tmp_path / name).touch()
        (tmp_path / "data/cats/more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/self").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "data/cats/up").symlink_to(tmp_path / "data")
        found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path / "data/cats")]
        assert found == ["data/cats/a.jpg", "data/cats/more/c.jpg"]

    def test_file_and_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").touch()
        assert find_images(tmp_path / "a.jpg") == [tmp_path / "a.jpg"]
        with pytest.raises(DataError, match=r"There is nothing at .*absent. Check the spelling"):
            find_images(tmp_path / "absent")
