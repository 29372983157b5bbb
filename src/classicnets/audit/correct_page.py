"""The page that corrects labels, served to this machine alone: one suspect at a time, every decision saved at once.

Only a browser that has the random token of the address is answered. The address is 127.0.0.1; requests that name
another host, or come from another page, are refused, so that no website that the user visits can read or decide
anything.

    GET  /TOKEN/             the page
    GET  /TOKEN/state        the suspects, what was decided, the classes
    GET  /TOKEN/suspect/7    the pictures of a suspect
    POST /TOKEN/decide       {"number": 7, "action": "relabel", "label": "dog"}; the action "" takes a decision back
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from classicnets.audit.decisions import Decisions
from classicnets.errors import ClassicNetsError, ConfigError, StorageError
from classicnets.reports.html import render

_HOST = "127.0.0.1"
_LARGEST_BODY = 4096  # bytes of a decision
_PATIENCE = 20  # seconds that a connection may be silent
_POLICY = (
    "default-src 'none'; img-src data:; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class CorrectPage(ThreadingHTTPServer):
    """The server of the page. `serve_forever` answers until `shutdown`, or Ctrl-C.

    Args:
        decisions: what is shown and decided.
        port: the port on 127.0.0.1; 0 takes a free one.

    Raises ConfigError if the port is taken.
    """

    daemon_threads = True

    def __init__(self, decisions: Decisions, port: int = 0) -> None:
        try:
            super().__init__((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"Port {port} cannot be used: {error}. Choose another one, or 0 for a free one."
            ) from None
        self.decisions = decisions
        self.token = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://{_HOST}:{self.server_address[1]}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the header Host may be."""
        return tuple(f"{name}:{self.server_address[1]}" for name in (_HOST, "localhost"))


class _Refused(Exception):
    """A request that is not answered, with the status that says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: CorrectPage
    server_version, sys_version = "classicnets", ""
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the address holds the token."""

    def _answer(self, work: Callable[[str], Any]) -> None:
        try:
            self._send(200, work(self._place()))
        except _Refused as refused:
            self.close_connection = True
            self._send(refused.status, {"error": str(refused)})
        except StorageError as error:
            self._send(507, {"error": f"Not saved: {error}"})
        except ClassicNetsError as error:
            self._send(400, {"error": str(error)})

    def _place(self) -> str:
        """What is asked for, below the token. Raises _Refused for requests from elsewhere."""
        host = self.headers.get("Host", "")
        if host not in self.server.hosts:
            raise _Refused(403, "This page answers at 127.0.0.1 only.")
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise _Refused(403, "This page answers itself only, not other pages.")
        token, _, place = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(404, "There is nothing here. Use the whole address that the command printed.")
        return place

    def _get(self, place: str) -> Any:
        decisions = self.server.decisions
        if place == "":
            return None
        if place == "state":
            return decisions.state()
        kind, _, number = place.partition("/")
        if kind == "suspect" and number.isdecimal() and int(number[:9]) < len(decisions.audit.suspects):
            return decisions.describe(int(number[:9]))
        raise _Refused(404, "There is nothing here.")

    def _post(self, place: str) -> Any:
        body = self._body()
        if place != "decide":
            raise _Refused(404, "There is nothing here.")
        if "Origin" not in self.headers:
            raise _Refused(403, "A decision must come from the page.")
        try:
            values = json.loads(body)
            number, action, label = values["number"], values["action"], values["label"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _Refused(400, 'A decision is {"number": 0, "action": "keep", "label": ""}.') from None
        if type(number) is not int or not isinstance(action, str) or not isinstance(label, str):
            raise _Refused(400, 'A decision is {"number": 0, "action": "keep", "label": ""}.')
        self.server.decisions.decide(number, action, label)
        return {"saved": True}

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            raise _Refused(411, "A decision needs its length.")
        if len(length) > 9 or int(length) > _LARGEST_BODY:
            raise _Refused(413, f"A decision is at most {_LARGEST_BODY} bytes.")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "A decision is JSON.")
        return self.rfile.read(int(length))

    def _send(self, status: int, answer: Any) -> None:
        """Send an answer as JSON, or the page for None."""
        nonce = secrets.token_urlsafe(16)
        if answer is None:
            decisions = self.server.decisions
            page = render(
                "correct.html.j2",
                data=decisions.audit.data, suspects=len(decisions.audit.suspects), file=decisions.file, nonce=nonce,
            )  # fmt: skip
            body, kind = page.encode(), "text/html; charset=utf-8"
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
