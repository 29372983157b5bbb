"""Open an image: its format, size and orientation, before any pixel is decoded."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from classicnets.images import jpeg, png
from classicnets.images.source import FORMATS, MAX_PIXELS_VARIABLE, RefusedError, pixel_limit

_JPEG_MARGIN = 4  # how many times more pixels than are decoded a JPEG may have: it is decoded at a half or less


def open_header(file: IO[bytes], max_pixels: int, *, pixels: bool = True) -> ImageFile.ImageFile:
    """Return the image with its header read and no pixel decoded. Raises RefusedError if it has too many pixels."""
    start = file.read(16)
    file.seek(0)
    try:
        image = _open_png(file, pixels) if start.startswith(png.SIGNATURE) else _open(file)
    except UnidentifiedImageError:
        if known := _format_of(start):
            raise RefusedError(f"the data is damaged (the header of this {known} cannot be read)") from None
        raise
    width, height = image.size
    if width * height > max_pixels * (_JPEG_MARGIN if is_jpeg(image) else 1):
        raise too_large(height, width, max_pixels)
    return image


def _open(file: IO[bytes]) -> ImageFile.ImageFile:
    with _quiet():
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    assert isinstance(image, ImageFile.ImageFile)
    return image


def _open_png(file: IO[bytes], pixels: bool) -> ImageFile.ImageFile:
    try:
        return _open(io.BytesIO(png.lean_png(file, pixels=pixels)))
    except Exception:  # metadata that is damaged or too large is no reason to refuse the picture
        file.seek(0)
        return _open(io.BytesIO(png.lean_png(file, metadata=False, pixels=pixels)))


def _format_of(start: bytes) -> str | None:
    """The format of a file that starts so, if that is certain."""
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    signatures = {png.SIGNATURE: "PNG", jpeg.SIGNATURE: "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    return next((name for signature, name in signatures.items() if start.startswith(signature)), None)


def is_jpeg(image: Image.Image) -> bool:
    return image.format in ("JPEG", "MPO")


def is_jpeg_file(content: bytes) -> bool:
    """Whether the content of a file begins as a JPEG does."""
    return content.startswith(jpeg.SIGNATURE)


def too_large(height: int, width: int, max_pixels: int) -> RefusedError:
    return RefusedError(
        f"the image is {width:,} x {height:,} pixels; the limit is {max_pixels:,} pixels "
        f"(set the environment variable {MAX_PIXELS_VARIABLE} to allow more)"
    )


_quiet_lock = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow's warnings about large images and odd metadata, which are judged here.

    One thread at a time: the filters, and Pillow's own limit, belong to the process.
    """
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8."""
    orientation = exif_of(image, ExifTags.Base.Orientation)
    return orientation if orientation in range(1, 9) else 1


def exif_of(image: Image.Image, tag: ExifTags.Base) -> Any:
    """The value of an EXIF tag, of the image or of the shot; None if the image has none, or its metadata is damaged."""
    try:
        with _quiet():
            # Not the method of PNGs, which decodes the pixels to look for EXIF data behind them.
            exif = Image.Image.getexif(image)
            return exif[tag] if tag in exif else exif.get_ifd(ExifTags.IFD.Exif).get(tag)
    except Exception:  # damaged metadata is no reason to refuse the picture
        return None


def seen_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) once the orientation is applied."""
    width, height = image.size
    turned = image.format != "TIFF" and orientation_of(image) >= 5  # Pillow turns TIFFs by itself
    return (width, height) if turned else (height, width)


def within_limit(height: int, width: int) -> int:
    """Return a `reduction` for `read_image`: 1, or 2 if `height` x `width` is above the limit on pixels.

    With it, very large JPEGs are decoded at half their size instead of being refused.
    """
    return 1 if height * width <= pixel_limit() else 2


def reduction_to(longest: int) -> Callable[[int, int], int]:
    """Return a `reduction` for `read_image` that leaves at least `longest` pixels along the longer side."""

    def reduction(height: int, width: int) -> int:
        return next((factor for factor in (8, 4, 2) if max(height, width) >= factor * longest), 1)

    return reduction
