"""Images as data URIs, which pages and drawings hold in themselves, and as JPEGs of low quality."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import Image

from classicnets.images.source import as_array

if TYPE_CHECKING:
    from torch import Tensor

_QUALITY = 88  # of a JPEG, 1..95


def image_uri(image: np.ndarray | Tensor) -> str:
    """Return an image, uint8 (3, H, W), as a PNG in a data URI."""
    out = io.BytesIO()
    _picture(image).save(out, "PNG")
    return png_uri(out.getvalue())


def thumbnail_uri(image: np.ndarray | Tensor) -> str:
    """Return a small image, uint8 (3, H, W), as a data URI: a PNG or JPEG, whichever is smaller."""
    out = io.BytesIO()
    _picture(image).save(out, "JPEG", quality=_QUALITY)
    jpeg = f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
    return min(image_uri(image), jpeg, key=len)


def _picture(image: np.ndarray | Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(as_array(image).transpose(1, 2, 0)))


def png_uri(data: bytes) -> str:
    """Return the bytes of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def svg_uri(document: str) -> str:
    """Return an SVG document as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(document.encode()).decode()}"


def recompressed(image: Tensor, quality: int) -> Tensor:
    """Return what is left of an image, uint8 (1 or 3, H, W), that is saved as a JPEG of this quality, 1..100."""
    import torch

    colours = "RGB" if len(image) == 3 else "GRAY"
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    data = simplejpeg.encode_jpeg(pixels, quality, colours, colorsubsampling="420" if len(image) == 3 else "Gray")
    decoded: Tensor = torch.from_numpy(simplejpeg.decode_jpeg(data, colours))
    return decoded.permute(2, 0, 1)
