"""Downloading without waiting forever."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def patience(seconds: float = 20) -> Iterator[None]:
    """Within the block, a connection that says nothing for that long is given up (an OSError), in libraries too."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
