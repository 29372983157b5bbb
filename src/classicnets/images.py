"""From a file or bytes to a uint8 RGB tensor, or a `BadImage` that says why not. The only decoder of this package.

What a file is, is told from its content, never from its suffix. Pillow reads every header, before any pixel is
decoded; the pixels of a JPEG are then decoded by simplejpeg, which is fast and, unlike Pillow, refuses damaged data
instead of guessing. CMYK JPEGs, which simplejpeg leaves as they are, and every other format are decoded by Pillow.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import simplejpeg
import torch
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from classicnets.errors import BadImage, DataError

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2",
})  # fmt: skip
MAX_PIXELS = 64_000_000

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
_MAX_BYTES = 512 * 1024 * 1024

_Answer = TypeVar("_Answer")


def read_image(
    source: str | Path | bytes,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    reduction: Callable[[int, int], int] = lambda height, width: 1,
) -> Tensor:
    """The picture as it is meant to be seen: uint8 RGB (3, H, W), values 0 to 255, contiguous.

    EXIF orientation is applied. Grey and palette images become RGB, CMYK is converted, transparent parts are laid
    over white, 16-bit values keep their high byte, and of an animation the first frame is taken.

    Args:
        source: a path, or the content of a file.
        name: what to call the image in errors; a path names itself.
        max_pixels: the largest height x width that is decoded; judged by the header.
        reduction: from the height and width to 1, 2, 4 or 8: how many times smaller a JPEG is to be decoded. Blocks of
            pixels are then averaged, at a fraction of the time. Both sides must be multiples of it.

    Raises BadImage: no such file, not a regular file, not an image, too large, truncated or damaged.

    >>> read_image("cat.jpg").shape  # doctest: +SKIP
    torch.Size([3, 480, 640])
    """
    name = _name_of(source, name)
    data = read_bytes(source, name=name)
    image = _guarded(name, lambda: _open(io.BytesIO(data), max_pixels))
    if image.format in ("JPEG", "MPO"):
        pixels = _guarded(name, lambda: _decode_jpeg(data, image, reduction(*_seen_size(image))))
    else:
        pixels = _guarded(name, lambda: _decode(image))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def image_size(source: str | Path | bytes, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as `read_image` would give it, from the header alone. Raises BadImage as it does."""
    name = _name_of(source, name)
    if isinstance(source, bytes):
        image = _guarded(name, lambda: _open(io.BytesIO(source), max_pixels))
    else:
        read_state(Path(source), name=name)
        with _guarded(name, lambda: open(source, "rb")) as file:
            image = _guarded(name, lambda: _open(file, max_pixels))
    return _seen_size(image)


def read_bytes(source: str | Path | bytes, *, name: str | None = None) -> bytes:
    """The content of a file, read once. Raises BadImage for what is not a readable, regular, non-empty file."""
    name = _name_of(source, name)
    if isinstance(source, bytes):
        data = source
    else:
        read_state(Path(source), name=name)
        data = _guarded(name, Path(source).read_bytes)
    if not data:
        raise BadImage(name, "the file is empty")
    return data


def read_state(path: Path, *, name: str | None = None) -> os.stat_result:
    """What the file system says of a file. Raises BadImage for what is not there, no regular file, empty or huge."""
    name = name or str(path)
    state = _guarded(name, lambda: os.stat(path))
    if stat.S_ISDIR(state.st_mode):
        raise BadImage(name, "this is a folder, not a file")
    if not stat.S_ISREG(state.st_mode):
        raise BadImage(name, "this is not a regular file")
    if state.st_size > _MAX_BYTES:
        raise BadImage(name, f"the file has {state.st_size:,} bytes; the most that is read is {_MAX_BYTES:,}")
    if state.st_size == 0:
        raise BadImage(name, "the file is empty")
    return state


def find_images(path: str | Path) -> list[Path]:
    """Every image file under a folder, by suffix, sorted; a file is taken as it is.

    Hidden files and folders are left out. Links are followed, though not to a folder around `path`, and each folder is
    entered once, so that a loop ends. Raises DataError where there is nothing at `path` or it cannot be listed.
    """
    path = Path(path)
    return [file for file in find_files(path) if is_image(file)] if path.is_dir() else find_files(path)


def find_files(path: Path) -> list[Path]:
    """As `find_images`, with files of every suffix."""
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"There is nothing at {path}. Check the spelling; paths are relative to {Path.cwd()}.")
        return [path]

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}. Make the folder readable.")

    found: list[Path] = []
    seen = {_identity(folder) for folder in path.resolve().parents}  # a link upwards would bring in other folders
    for folder, inner, files in os.walk(path, followlinks=True, onerror=refuse):
        if _identity(folder) in seen:
            inner.clear()
            continue
        seen.add(_identity(folder))
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        found += [Path(folder, name) for name in files if not is_hidden(name)]
    return sorted(found)


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of anyone's data: ".git", "__MACOSX"."""
    return name.startswith(".") or name == "__MACOSX"


def _identity(folder: str | Path) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def _name_of(source: str | Path | bytes, name: str | None) -> str:
    return name or ("the image" if isinstance(source, bytes) else str(source))


def _guarded(name: str, step: Callable[[], _Answer]) -> _Answer:
    """The answer of `step`, whose every failure becomes a BadImage: hostile bytes make decoders raise anything."""
    try:
        return step()
    except _RefusedError as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = f"this is not an image in a known format ({', '.join(_FORMATS)})"
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else f"the data is damaged ({error})"
    except Exception as error:
        reason = f"the data is damaged ({error or type(error).__name__})"
    raise BadImage(name, reason)


class _RefusedError(Exception):
    """A well-formed image that is not taken; the text is the reason."""


_header_lock = threading.Lock()


def _open(file: IO[bytes], max_pixels: int) -> ImageFile.ImageFile:
    """The image with its header read and no pixel decoded; `info["orientation"]` holds the EXIF orientation, 1 to 8."""
    # Pillow warns about large images and odd metadata. Those are ours to judge, and the filters are the process's.
    with _header_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError:
            raise _RefusedError(f"the image has more than {max_pixels:,} pixels, the most that is decoded") from None
        try:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # damaged metadata is no reason to refuse the picture
            orientation = 1
    assert isinstance(image, ImageFile.ImageFile)
    width, height = image.size
    if width * height > max_pixels:
        raise _RefusedError(
            f"the image is {width:,} x {height:,} pixels; the most that is decoded is {max_pixels:,} pixels"
        )
    image.info["orientation"] = orientation if orientation in range(1, 9) else 1
    return image


def _seen_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """(height, width) once the orientation is applied."""
    width, height = image.size
    turned = image.format != "TIFF" and image.info["orientation"] >= 5  # Pillow turns TIFFs by itself
    return (width, height) if turned else (height, width)


_TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def _decode_jpeg(data: bytes, image: ImageFile.ImageFile, reduction: int) -> np.ndarray:
    """uint8 (H, W, 3) of a JPEG, at 1 / `reduction` of its size."""
    if image.mode == "CMYK":
        simplejpeg.decode_jpeg(data, "CMYK")  # for its strictness: Pillow paints over damaged parts
        return _decode(image)
    width, height = image.size
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data, "RGB", min_height=height // reduction, min_width=width // reduction
    )
    return _TURN[image.info["orientation"]](pixels)


def _decode(image: ImageFile.ImageFile) -> np.ndarray:
    """uint8 (H, W, 3) of anything that Pillow opened."""
    image.load()
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I"):
        turned = _high_byte(turned)
    if turned.mode in ("RGBA", "LA", "PA", "RGBa", "La") or turned.has_transparency_data:
        turned = turned.convert("RGBA")
        white = Image.new("RGBA", turned.size, "white")
        turned = Image.alpha_composite(white, turned)
    if turned.mode == "F":
        raise _RefusedError(
            "its pixels are floating-point numbers, whose range is not known; save it with 8 or 16 bits"
        )
    return np.asarray(turned.convert("RGB"))


def _high_byte(image: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit, as Pillow does for 16-bit colour."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise _RefusedError("its pixels are 32-bit numbers, whose range is not known; save it with 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8), "L")
