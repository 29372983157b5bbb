"""`Connection`: HTTP/1.1 on one socket, within limits that uvicorn does not have.

A connection that sends no whole head in time is closed, and so is one that does not read its answer. If too many are
open, the one that has waited longest for a request makes room.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from classicnets.serving.limits import Limits

_GRACE = 5.0  # seconds that an answer may stay unread after its deadline


class Connection(H11Protocol):
    """A connection of a client.

    Args:
        limits: what the server takes.
        order: all connections of the server, the one that has waited longest first.
        given: what uvicorn gives.

    Attributes:
        since: when it was made or its last answer was complete, in seconds of the event loop's clock.
    """

    def __init__(self, *, limits: Limits, order: dict[Connection, None], **given: Any) -> None:
        super().__init__(**given)
        self._limits, self._order = limits, order
        self.since = self.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection. If too many are open, close the one that has waited longest for a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        _send_at_once(transport)
        self._order[self] = None
        if len(self._order) > self._limits.connections:
            waiting = (other for other in self._order if other.idle and not other.transport.is_closing())
            next(waiting).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._order.pop(self, None)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.since = self.loop.time()
        self._order[self] = self._order.pop(self, None)  # to the end
        super().on_response_complete()

    def add_header(self, header: tuple[bytes, bytes]) -> None:
        """Add a header to the answer that is being made, if there is one."""
        if self.cycle is not None:
            self.cycle.default_headers = [*self.cycle.default_headers, header]

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def close_if_late(self, now: float) -> None:
        """Close it at once if it has waited too long for its client. `now` is the time of the loop's clock."""
        limits = self._limits
        reading = not self.idle or self.transport.get_write_buffer_size() > 0
        if now - self.since > limits.head_seconds + (limits.seconds + _GRACE if reading else 0):
            self.transport.abort()


def _send_at_once(transport: asyncio.BaseTransport) -> None:
    """Have the system send each write at once. Else an answer's body waits 40 ms until its head is acknowledged.

    asyncio asks for it too, but not for sockets that do not name their protocol, such as `socket.create_server` makes.
    """
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
