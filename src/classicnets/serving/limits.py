"""What a server takes: bytes, images and requests at once, and how long a request may take."""

from __future__ import annotations

import os
from dataclasses import dataclass

from classicnets.errors import ConfigError
from classicnets.images import MAX_PIXELS_VARIABLE, image_size, is_jpeg_file, pixel_limit

WHOLE_PIXELS = 25_000_000
"""The most pixels of an image that must be decoded as a whole, as all except JPEGs must: a second of a core."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes. A request beyond a limit is refused before anything is decoded.

    Attributes:
        workers: how many requests are answered at once, 1 or more.
        waiting: how many more may wait for their turn, 0 or more. The next one gets 503.
        body: bytes of one request, after decompression; a longer one gets 413.
        bodies: bytes of all requests that are being received or answered.
        images: how many images one request may have, 1 or more.
        seconds: how long a request may take, from its head to its answer.
        head_seconds: how long a connection may be open before it has sent the head of a request.
        connections: how many connections are open at once, 1 or more. For one more, the connection that has waited
            longest for a request is closed.

    Raises ConfigError for a number below its smallest.
    """

    workers: int
    waiting: int = 32
    body: int = 64 * 2**20
    bodies: int = 512 * 2**20
    images: int = 64
    seconds: float = 30.0
    head_seconds: float = 10.0
    connections: int = 1000

    def __post_init__(self) -> None:
        for name, least in (
            ("workers", 1),
            ("waiting", 0),
            ("body", 1),
            ("bodies", self.body),
            ("images", 1),
            ("connections", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"limits.{name} must be {least:,} or more, got {getattr(self, name):,}.")
        for name in ("seconds", "head_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"limits.{name} must be above 0, got {getattr(self, name):g}.")


def check_pixels(content: bytes, *, name: str) -> None:
    """Refuse an image file that would take long to decode, by its header alone.

    A JPEG is decoded at a reduced scale. Another image may have 25 megapixels, or what CLASSICNETS_MAX_PIXELS allows
    if it is set: a few bytes can promise any number.

    Args:
        content: the file.
        name: what to call it in errors.

    Raises BadImage if it is too large, or no image.
    """
    if not is_jpeg_file(content):
        limit = pixel_limit() if MAX_PIXELS_VARIABLE in os.environ else WHOLE_PIXELS
        image_size(content, name=name, max_pixels=limit)
