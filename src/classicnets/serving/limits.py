"""What a server takes: bytes, images and requests at once, and how long a request may take."""

from __future__ import annotations

from dataclasses import dataclass

from classicnets.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes. A request beyond a limit is refused before anything is decoded.

    Attributes:
        workers: how many requests are answered at once, 1 or more.
        waiting: how many more may wait for their turn, 0 or more. The next one gets 503.
        body: bytes of one request, after decompression; a longer one gets 413.
        bodies: bytes of all requests that are being received or answered.
        images: how many images one request may have, 1 or more.
        seconds: how long a request may take, from its first byte to its answer.

    Raises ConfigError for a number below its smallest.
    """

    workers: int
    waiting: int = 32
    body: int = 64 * 2**20
    bodies: int = 512 * 2**20
    images: int = 64
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("waiting", 0), ("body", 1), ("bodies", self.body), ("images", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"limits.{name} must be {least:,} or more, got {getattr(self, name):,}.")
        if not self.seconds > 0:
            raise ConfigError(f"limits.seconds must be above 0, got {self.seconds:g}.")
