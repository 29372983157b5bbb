"""Images as data URIs, which pages and drawings hold in themselves."""

from __future__ import annotations

import base64
import io

from PIL import Image
from torch import Tensor


def image_uri(image: Tensor) -> str:
    """Return an image, uint8 (3, H, W), as a PNG in a data URI."""
    out = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(out, "PNG")
    return png_uri(out.getvalue())


def png_uri(data: bytes) -> str:
    """Return the bytes of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
