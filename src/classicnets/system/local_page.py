"""`LocalPage`: a page that one program shows to this machine alone, on the standard library.

Only a browser that has the random token of the address is answered. The address is 127.0.0.1; requests that name
another host, or come from another page, are refused, so that no website that the user visits can read or change
anything.

    GET  /TOKEN/         the page
    GET  /TOKEN/PLACE    what `get` returns, as JSON
    POST /TOKEN/PLACE    what `post` returns for a JSON body, as JSON
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from classicnets.errors import ClassicNetsError, ConfigError, StorageError

_HOST = "127.0.0.1"
_LARGEST_BODY = 4096  # bytes
_PATIENCE = 20  # seconds that a connection may be silent
_POLICY = (
    "default-src 'none'; img-src data:; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Refused(Exception):
    """A request that is not answered, with the status and the sentence that say why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class LocalPage(ThreadingHTTPServer):
    """The server of a page. `serve_forever` answers until `shutdown`, or Ctrl-C. A subclass fills in three methods.

    `get` and `post` raise Refused for what there is not. A StorageError becomes 507, and another error of this package
    400, with its message.

    Args:
        port: the port on 127.0.0.1; 0 takes a free one.

    Raises ConfigError if the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        try:
            super().__init__((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"Port {port} cannot be used: {error}. Choose another one, or 0 for a free one."
            ) from None
        self.token = secrets.token_urlsafe(24)

    def page(self, nonce: str) -> str:
        """Return the page as HTML. Its scripts and styles carry the nonce."""
        raise NotImplementedError

    def get(self, place: str) -> Any:
        """Return what is at a place, JSON-ready."""
        raise nothing_here()

    def post(self, place: str, values: Any) -> Any:
        """Do what is asked for at a place, with the values of the body, and return an answer, JSON-ready."""
        raise nothing_here()

    def answered(self, place: str) -> None:
        """Called after the answer to a GET has been sent."""

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://{_HOST}:{self.server_address[1]}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the header Host may be."""
        return tuple(f"{name}:{self.server_address[1]}" for name in (_HOST, "localhost"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a browser that closes its connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def nothing_here() -> Refused:
    """What a request for an unknown place gets."""
    return Refused(404, "There is nothing here.")


class _Handler(BaseHTTPRequestHandler):
    server: LocalPage
    server_version, sys_version = "classicnets", ""
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def do_GET(self) -> None:
        place = self._answer(self._get)
        if place is not None:
            self.server.answered(place)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the address holds the token."""

    def _answer(self, work: Callable[[str], Any]) -> str | None:
        """Send an answer. Return the place below the token that was asked for, or None if it was refused."""
        try:
            place = self._place()
            self._send(200, work(place))
            return place
        except Refused as refused:
            self.close_connection = True
            self._send(refused.status, {"error": str(refused)})
        except StorageError as error:
            self._send(507, {"error": f"Not saved: {error}"})
        except ClassicNetsError as error:
            self._send(400, {"error": str(error)})
        return None

    def _place(self) -> str:
        """What is asked for, below the token. Raises Refused for requests from elsewhere."""
        host = self.headers.get("Host", "")
        if host not in self.server.hosts:
            raise Refused(403, "This page answers at 127.0.0.1 only.")
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise Refused(403, "This page answers itself only, not other pages.")
        token, _, place = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(404, "There is nothing here. Use the whole address that the command printed.")
        return place

    def _get(self, place: str) -> Any:
        return self.server.get(place) if place else None

    def _post(self, place: str) -> Any:
        body = self._body()
        if "Origin" not in self.headers:
            raise Refused(403, "This must come from the page.")
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not JSON.") from None
        return self.server.post(place, values)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            raise Refused(411, "The body needs its length.")
        if len(length) > 9 or int(length) > _LARGEST_BODY:
            raise Refused(413, f"The body is at most {_LARGEST_BODY} bytes.")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "The body is JSON.")
        return self.rfile.read(int(length))

    def _send(self, status: int, answer: Any) -> None:
        """Send an answer as JSON, or the page for None."""
        nonce = secrets.token_urlsafe(16)
        if answer is None:
            body, kind = self.server.page(nonce).encode(), "text/html; charset=utf-8"
        else:
            body, kind = json.dumps(answer, ensure_ascii=False).encode(), "application/json"
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": _POLICY.format(nonce=nonce),
            "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **({"Connection": "close"} if self.close_connection else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
