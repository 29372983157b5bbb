"""`Connection`: HTTP/1.1 on one socket, within limits that uvicorn does not have.

A connection that sends no whole head in time is closed, and so is one that does not read its answer. If too many are
open, the one that has waited longest for a request makes room.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from classicnets.serving.limits import Limits

_GRACE = 5.0  # seconds that an answer may stay unread after its deadline


class Connection(H11Protocol):
    """A connection of a client.

    Attributes:
        since: when it was made or its last answer was complete, in seconds of the event loop's clock.
    """

    def __init__(self, *, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self.since = self.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection. If too many are open, close the one that has waited longest for a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self._limits.connections:
            others = cast("set[Connection]", self.connections)
            waiting = [other for other in others if other.idle and not other.transport.is_closing()]
            min(waiting, key=lambda other: other.since).transport.abort()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.since = self.loop.time()
        super().on_response_complete()

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
