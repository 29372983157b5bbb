"""`serve`: run the application until a signal asks it to stop; then finish what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from classicnets.deployment import Bundle
from classicnets.errors import ConfigError
from classicnets.serving.app import State, create_app
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served, serve_names
from classicnets.system.threads import usable_cores

LOCAL = ("127.0.0.1", "localhost", "::1")
_HEADERS = 64 * 2**10  # bytes of a request's headers
_NOTICED = 0.5  # seconds in which a balancer sees that the server is not ready any more


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
    limits = limits or Limits(workers=usable_cores())
    models = [Served(name, path, workers=limits.workers) for name, path in serve_names(paths).items()]
    if not all(isinstance(served.scorer, Bundle) for served in models):
        import torch

        torch.set_num_threads(max(1, usable_cores() // limits.workers))  # of each worker
    allowed = [*LOCAL, "[::1]", host, *hosts]
    app, state = create_app(models, limits=limits, hosts=allowed, key=key)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
        h11_max_incomplete_event_size=_HEADERS, timeout_keep_alive=5, http="h11", lifespan="on",
    )  # fmt: skip
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        say(f"http://{name}:{listener.getsockname()[1]}")
        _Server(config, state).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError if the address cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"Nothing can listen on {host}, port {port}: {error.strerror or error}. Choose another --port, or 0 for a "
            f"free one."
        ) from None


class _Server(uvicorn.Server):
    """A server that says it is not ready before it stops, and ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._serving = state

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if not self._serving.ready:
            self.force_exit = True
            return
        self._serving.ready = False
        asyncio.get_running_loop().call_later(_NOTICED, setattr, self, "should_exit", True)
