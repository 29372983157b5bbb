"""`serve`: run the application until a signal asks it to stop; then finish what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from classicnets.deployment import Bundle
from classicnets.errors import ConfigError
from classicnets.serving.app import State, create_app
from classicnets.serving.connection import Connection
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served, serve_names
from classicnets.system.threads import usable_cores

LOCAL = ("127.0.0.1", "localhost", "::1")
_HEADERS = 64 * 2**10  # bytes of a request's headers
_NOTICED = 0.5  # seconds in which a balancer sees that the server is not ready any more
_FIRST, _NEXT = 1.0, 0.2  # seconds in which the first request of a connection arrives, and one after an answer
_LOOK = 0.05
_KEPT = 5  # seconds that a connection without requests stays open
_SO_ATTACH_FILTER, _BPF_RETURN = 26, 0x06  # of Linux: <asm/socket.h>, <linux/filter.h>
_OTHER_FILES = 100  # models, libraries, pipes
_CLOSE = (b"connection", b"close")


def check_address(host: str, key: str | None, *, insecure: bool) -> None:
    """Raise ConfigError if others could use the server without a key, and nobody said that they may."""
    if host not in LOCAL and key is None and not insecure:
        raise ConfigError(
            f"On {host}, others can use this server. Give it a key with --api-key KEY, or say --insecure."
        )


def serve(
    paths: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    insecure: bool = False,
    hosts: Sequence[str] = (),
    limits: Limits | None = None,
    say: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve runs and bundles over HTTP until SIGTERM or Ctrl-C; then finish the requests that were accepted.

    Args:
        paths: runs, model folders or bundles, each with its own name: NAME=PATH, or the folder's name.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        key: what requests must show in the header X-API-Key, or None.
        insecure: whether an address other than this machine's own may be used without a key.
        hosts: more names that the Host header of requests may have.
        limits: what is taken; by default a worker for each core.
        say: called with the server's address when it listens.

    Raises ConfigError for an address without a key or one that is taken, and what `load` raises.

    >>> serve([Path("runs/birds")], port=8080)  # doctest: +SKIP
    """
    check_address(host, key, insecure=insecure)
    limits = _with_files_for(limits or Limits(workers=usable_cores()))
    models = [Served(name, path, workers=limits.workers) for name, path in serve_names(paths).items()]
    if not all(isinstance(served.scorer, Bundle) for served in models):
        import torch

        torch.set_num_threads(max(1, usable_cores() // limits.workers))  # of each worker
    allowed = [*LOCAL, host, *hosts]
    app, state = create_app(models, limits=limits, hosts=allowed, key=key)
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        say(f"http://{name}:{listener.getsockname()[1]}")
        Server(app, state, limits).run(sockets=[listener])


def _with_files_for(limits: Limits) -> Limits:
    """Let this process open a file for each connection; allow fewer connections where the system forbids it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(soft, min(hard, limits.connections + _OTHER_FILES))
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(limits, connections=max(1, min(limits.connections, allowed - _OTHER_FILES)))


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError if the address cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"Nothing can listen on {host}, port {port}: {error.strerror or error}. Choose another --port, or 0 for a "
            f"free one."
        ) from None


class Server(uvicorn.Server):
    """A server that says that it is not ready before it stops, answers all it was sent, and ends with exit code 0.

    Args:
        app: the application.
        state: what its routes share.
        limits: what it takes.
    """

    def __init__(self, app: ASGIApp, state: State, limits: Limits) -> None:
        config = uvicorn.Config(
            app, http=partial(Connection, limits=limits, order={}), ws="none", lifespan="on",  # type: ignore[arg-type]
            log_level="error", access_log=False, server_header=False, h11_max_incomplete_event_size=_HEADERS,
            timeout_keep_alive=_KEPT, timeout_graceful_shutdown=math.ceil(limits.seconds) + _KEPT,
        )  # fmt: skip
        super().__init__(config)
        self._serving = state

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        """Be not ready, have clients close their connections, and stop a little later; at once when asked again."""
        if not self._serving.ready:
            self.force_exit = True
            return
        self._serving.ready = False
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            cast("Connection", connection).add_header(_CLOSE)
        asyncio.get_running_loop().call_later(_NOTICED, setattr, self, "should_exit", True)

    async def on_tick(self, counter: int) -> bool:
        now = asyncio.get_running_loop().time()
        for connection in self._connections():
            connection.close_if_late(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; answer what clients have sent on connections that the system has accepted already."""
        loop = asyncio.get_running_loop()
        for listener in sockets or ():
            loop.remove_reader(listener)
        await asyncio.sleep(_LOOK)  # what was accepted becomes a connection; asyncio drops it if its server is closed
        for listener in sockets or ():
            await self._take_waiting(listener)
        for server in self.servers:
            server.close()
        begun = loop.time()
        while any(_may_ask(connection, loop.time() - begun) for connection in self._connections()):
            await asyncio.sleep(_LOOK)
        await super().shutdown(sockets)

    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.server_state.connections))

    async def _take_waiting(self, listener: socket.socket) -> None:
        """Take the connections that the system holds for us; those that come later find nobody."""
        _drop_packets(listener)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                await loop.connect_accepted_socket(self._connection, accepted)

    def _connection(self) -> asyncio.Protocol:
        make = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore


def _may_ask(connection: Connection, waited: float) -> bool:
    """Whether a request may be on its way, so many seconds after the server has stopped listening."""
    return connection.idle and waited < (_FIRST if connection.cycle is None else _NEXT)


def _drop_packets(listener: socket.socket) -> None:
    """Have Linux answer no new connection, so that none is made between our last `accept` and the end of listening."""
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
        described = struct.pack("HP", 1, ctypes.addressof(program))
        with contextlib.suppress(OSError):  # a system that only looks like Linux
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
