"""A load generator: asks one address for a while, from a process of its own, and says what came back.

    python benchmarks/http_load.py '{"port": 8000, "path": "/v1/predict", "files": ["photo.jpg"], "connections": 8,
                                     "seconds": 10, "rate": null}'

Without a rate, each connection sends its next request when it has an answer: that saturates a server. With a rate,
requests are sent at even times whatever comes back, on connections that are free or new, and a time counts from when
its request was due. It speaks HTTP/1.1 itself, because on a machine that it shares with the server, a client library
would take more time than the server does.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

_IDLE = 2.0  # seconds after which a free connection is not used again


@dataclass(frozen=True)
class Load:
    """What to ask.

    Attributes:
        port: of the server, on this machine.
        path: of the route; files are sent by POST.
        files: what the requests send, in turns.
        connections: how many are used; with a rate, at most.
        seconds: how long requests are sent. Those on their way are waited for.
        rate: requests a second, or None for as many as are answered.
        form: whether a file is sent as a form, else as the body.
    """

    port: int
    path: str
    files: Sequence[str]
    connections: int
    seconds: float
    rate: float | None = None
    form: bool = False

    def start(self) -> subprocess.Popen[str]:
        """Start it in a process of its own; `Outcome.of` waits for it."""
        given = json.dumps(asdict(self), default=str)
        return subprocess.Popen([sys.executable, __file__, given], stdout=subprocess.PIPE, text=True)

    def run(self) -> Outcome:
        """Run it in a process of its own."""
        return Outcome.of(self.start())

    def requests(self) -> list[bytes]:
        """The requests, ready to be sent."""
        made = []
        for name in self.files:
            body, kind = Path(name).read_bytes(), "application/octet-stream"
            if self.form:
                part = b'--limit\r\nContent-Disposition: form-data; name="content"; filename="photo.jpg"\r\n\r\n'
                body, kind = part + body + b"\r\n--limit--\r\n", "multipart/form-data; boundary=limit"
            head = (
                f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            made.append(head.encode() + body)
        return made


@dataclass
class Outcome:
    """What came back.

    Attributes:
        seconds: from the first request to the last answer.
        answered: seconds that each answer took, by its status.
        lost: requests that were sent and got no answer.
        refused: connections that could not be made.
        retries: answers with status 503 that said when to come again.
    """

    seconds: float = 0.0
    answered: dict[str, list[float]] = field(default_factory=dict)
    lost: int = 0
    refused: int = 0
    retries: int = 0

    @staticmethod
    def of(process: subprocess.Popen[str]) -> Outcome:
        """Wait for a load that was started."""
        text, _ = process.communicate()
        return Outcome(**json.loads(text))

    def count(self, status: int = 200) -> int:
        """How many answers had this status."""
        return len(self.answered.get(str(status), ()))

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.count() / self.seconds

    def milliseconds(self, percent: float, status: int = 200) -> float:
        """How long `percent` of the answers with this status took at most."""
        return float(np.percentile(self.answered[str(status)], percent)) * 1e3


class _Connection(asyncio.Protocol):
    """A connection, with at most one request on its way."""

    def __init__(self, running: _Running) -> None:
        self._running = running
        self._received = b""
        self.due: float | None = None
        self.freed = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        _, _, after = head.partition(b"content-length:")
        length = int(after.split(b"\r\n")[0] or 0)
        if len(self._received) < end + 4 + length:
            return
        self._received = b""
        due, self.due = self.due, None
        if b"\r\nconnection: close" in head:
            self._transport.close()
        self._running.answer(self, head, due)

    def connection_lost(self, error: Exception | None) -> None:
        self._running.leave(self)


class _Running:
    """A load while it runs."""

    def __init__(self, load: Load) -> None:
        self._load, self._requests = load, load.requests()
        self._sent = 0
        self.outcome = Outcome()
        self._open: set[_Connection] = set()
        self._free: deque[_Connection] = deque()
        self._opening = 0

    async def run(self) -> Outcome:
        begun = time.perf_counter()
        self._end = begun + self._load.seconds
        await (self._saturate() if self._load.rate is None else self._at_rate(self._load.rate))
        while any(connection.due is not None for connection in self._open) and time.perf_counter() < self._end + 60:
            await asyncio.sleep(0.002)
        self.outcome.seconds = time.perf_counter() - begun
        for connection in list(self._open):
            connection._transport.abort()
        await asyncio.sleep(0)
        return self.outcome

    async def _saturate(self) -> None:
        await asyncio.gather(*(self._connect(time.perf_counter()) for _ in range(self._load.connections)))
        while time.perf_counter() < self._end:
            await asyncio.sleep(0.05)
            while len(self._open) < self._load.connections and not self._opening and time.perf_counter() < self._end:
                await self._connect(time.perf_counter())
                await asyncio.sleep(0)

    async def _at_rate(self, rate: float) -> None:
        due = time.perf_counter()
        while due < self._end:
            while due <= time.perf_counter():
                if (free := self._pop_free()) is not None:
                    self._send(free, due)
                elif len(self._open) + self._opening < self._load.connections:
                    self._opening += 1
                    task = asyncio.create_task(self._connect(due))
                    task.add_done_callback(lambda _: None)
                else:
                    self.outcome.refused += 1
                due += 1 / rate
            await asyncio.sleep(min(0.001, 1 / rate))

    def _pop_free(self) -> _Connection | None:
        """A connection that was used a moment ago; the server may close one that was idle for long."""
        while self._free:
            connection = self._free.pop()
            if time.perf_counter() - connection.freed < _IDLE:
                return connection
            connection._transport.close()
        return None

    async def _connect(self, due: float) -> None:
        """Open a connection and send a request on it."""
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._load.port)
        except OSError:
            self.outcome.refused += 1
            return
        finally:
            self._opening -= self._load.rate is not None
        self._open.add(made)
        self._send(made, due)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.send(self._requests[self._sent % len(self._requests)], due)
        self._sent += 1

    def answer(self, connection: _Connection, head: bytes, due: float | None) -> None:
        now = time.perf_counter()
        if due is not None:
            status = head[9:12].decode()
            self.outcome.answered.setdefault(status, []).append(now - due)
            self.outcome.retries += status == "503" and b"\r\nretry-after:" in head
        if connection._transport.is_closing():
            return
        if self._load.rate is not None:
            connection.freed = now
            self._free.append(connection)
        elif now < self._end:
            self._send(connection, now)

    def leave(self, connection: _Connection) -> None:
        self._open.discard(connection)
        with suppress(ValueError):
            self._free.remove(connection)
        if connection.due is not None and time.perf_counter() < self._end + 60:
            self.outcome.lost += 1
            connection.due = None


def main() -> None:
    outcome = asyncio.run(_Running(Load(**json.loads(sys.argv[1]))).run())
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
