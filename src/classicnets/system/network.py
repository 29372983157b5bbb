"""Downloads that do not wait forever."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def patience(seconds: float = 20) -> Iterator[None]:
    """Set a default timeout of `seconds` for sockets inside the block.

    A connection that stays silent longer raises OSError. This also applies to libraries that set no timeout.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
