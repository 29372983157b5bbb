"""How an image file was made: its format, the settings of its encoder, the camera and the date in its EXIF data."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import get_sampling

from classicnets.images.header import exif_of, is_jpeg, open_header, orientation_of, seen_size
from classicnets.images.source import guarded, pixel_limit

_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
     51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120,
     101, 72, 92, 95, 98, 112, 100, 103, 99]
)  # fmt: skip
"""The quantisation table of quality 50 (ITU-T T.81, Table K.1)."""


@dataclass(frozen=True)
class Metadata:
    """How an image file was made. Text is empty, and a number or date None, if the file does not say.

    Attributes:
        format: "JPEG", "PNG" and so on.
        mode: how pixels are stored, in Pillow's words: "RGB", "L" (grey), "P" (palette), "RGBA".
        height, width: in pixels, as the image is seen.
        orientation: of the EXIF data, 1 to 8; 1 if there is none.
        quality: of a JPEG, 1 to 100: that of the standard table (libjpeg's) whose mean is nearest to the file's.
        tables: of a JPEG, the means of its quantisation tables.
        sampling: of a JPEG, how its colours are stored: "4:4:4", "4:2:2", "4:2:0" or "other".
        is_progressive: of a JPEG.
        camera: maker and model.
        software: the program that wrote the file.
        taken: when the shutter opened, else when the EXIF data was changed.
        has_exif, has_profile: whether there is EXIF data, a colour profile.
        density: dots per inch.
    """

    format: str
    mode: str
    height: int
    width: int
    orientation: int
    quality: int | None
    tables: tuple[float, ...]
    sampling: str
    is_progressive: bool
    camera: str
    software: str
    taken: datetime | None
    has_exif: bool
    has_profile: bool
    density: float | None


def read_metadata(data: bytes, *, name: str = "the image") -> Metadata:
    """Read how an image file was made, from its header. No pixel is decoded.

    Args:
        data: the content of the file.
        name: what to call the image in errors.

    Raises BadImage if the header cannot be read. Damaged EXIF data counts as none.

    >>> read_metadata(Path("cat.jpg").read_bytes()).quality  # doctest: +SKIP
    90
    """
    return guarded(name, lambda: _metadata(open_header(io.BytesIO(data), pixel_limit(), pixels=False)))


def _metadata(image: Image.Image) -> Metadata:
    height, width = seen_size(image)
    tables = [np.asarray(table) for table in getattr(image, "quantization", {}).values()] if is_jpeg(image) else []
    return Metadata(
        format=image.format or "",
        mode=image.mode,
        height=height,
        width=width,
        orientation=orientation_of(image),
        quality=_quality(tables[0]) if tables else None,
        tables=tuple(float(table.mean()) for table in tables),
        sampling=_SAMPLINGS.get(get_sampling(image), "other") if is_jpeg(image) else "",
        is_progressive=bool(image.info.get("progressive")),
        camera=_camera(_text(exif_of(image, _TAG.Make)), _text(exif_of(image, _TAG.Model))),
        software=_text(exif_of(image, _TAG.Software)),
        taken=_date(exif_of(image, _TAG.DateTimeOriginal)) or _date(exif_of(image, _TAG.DateTime)),
        has_exif="exif" in image.info,
        has_profile="icc_profile" in image.info,
        density=_density(image),
    )


_TAG = ExifTags.Base


def _quality(table: np.ndarray) -> int:
    """The quality of libjpeg, 1 to 100, whose luminance table has the nearest mean."""
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    means = ((_LUMINANCE * scales[:, None] + 50) // 100).clip(1, 255).mean(axis=1)
    return int(qualities[np.abs(means - table.mean()).argmin()])


def _camera(maker: str, model: str) -> str:
    """Maker and model; most models begin with the maker's name."""
    return model if model.startswith(maker) else f"{maker} {model}".strip()


def _text(value: Any) -> str:
    return " ".join(value.replace("\0", " ").split()) if isinstance(value, str) else ""


def _date(value: Any) -> datetime | None:
    """A date of EXIF data: "2024:05:31 12:00:00"."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(_text(value), "%Y:%m:%d %H:%M:%S")
    return None


def _density(image: Image.Image) -> float | None:
    with contextlib.suppress(TypeError, ValueError, IndexError):
        return float(image.info["dpi"][0]) if "dpi" in image.info else None
    return None
