"""`Guard`: what happens to every request before a route sees it, and to every response before it leaves.

    Host -> key -> room for one more -> body, within its limits and its deadline -> the route -> headers

The body is read here, so that a route never waits for a client, and a client that leaves ends its request.
"""

from __future__ import annotations

import asyncio
import hmac
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from classicnets.serving.admission import Admission
from classicnets.serving.refusal import Refusal, busy, too_large, too_late

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_OPEN = ("/health/", "/v2/health/")  # what a probe asks needs no key
_STEP = 2**16  # bytes that are inflated at a time


class Guard:
    """An ASGI application around another one.

    Args:
        app: the application.
        admission: whose limits hold.
        hosts: the names that a request's Host header may have, without a port.
        key: the key that a request must show, or None if none is needed.
        public: paths that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        *,
        hosts: Sequence[str],
        key: str | None,
        public: Collection[str] = (),
    ) -> None:
        self._app, self._admission = app, admission
        self._hosts = {f"[{host}]" if _is_ipv6(host) else host for host in map(str.lower, hosts)}
        self._key = None if key is None else key.encode()
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name for name, _ in message.get("headers", [])}
                more = [(name, value) for name, value in _HEADERS if name not in present]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        try:
            async with asyncio.timeout(self._admission.limits.seconds):
                self._check(scope)
                if scope["method"] == "POST" and self._admission.full:
                    raise busy()  # before its body is read
                await self._answer(scope, receive, guarded_send)
        except Refusal as refusal:
            if not started:
                await _refuse(refusal, guarded_send)
        except TimeoutError:
            if not started:
                await _refuse(too_late(), guarded_send)
        except _ClientLeft:
            pass

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if b"content-length" in headers and b"transfer-encoding" in headers:  # what smuggles a second request
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "Send either Content-Length or Transfer-Encoding.", {"Connection": "close"}
            )
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _without_port(host) not in self._hosts:
            raise Refusal(
                HTTPStatus.MISDIRECTED_REQUEST, "This server does not answer for that Host. Start it with --allow-host."
            )
        if self._key is None or scope["path"].startswith(_OPEN) or scope["path"] in self._public:
            return
        shown = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if not hmac.compare_digest(shown, self._key):
            raise Refusal(
                HTTPStatus.UNAUTHORIZED,
                "The key is missing or wrong. Send it in the header X-API-Key, or as a bearer token.",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, and run the application until it answers or the client leaves."""
        body = _Body(scope, self._admission)
        try:
            await body.read(receive)
            working = asyncio.ensure_future(self._app(scope, body.replayed, send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not working.done():
                    raise _ClientLeft
                await working
            finally:
                for task in (working, leaving):
                    task.cancel()
                    with suppress(asyncio.CancelledError, Refusal):
                        await task
        finally:
            body.release()


class _ClientLeft(Exception):
    """Nobody waits for the answer any more."""


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Body:
    """The body of a request: received, inflated and kept within the limits."""

    def __init__(self, scope: Scope, admission: Admission) -> None:
        self._admission, self._limit = admission, admission.limits.body
        self._content = bytearray()
        self._received = self._held = 0
        self._given = False
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            raise too_large(self._limit)
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip, deflate or left out.")
        self._inflate = None if encoding == "identity" else zlib.decompressobj(47 if encoding == "gzip" else 15)
        scope["headers"] = self._headers = [
            (name, value) for name, value in scope["headers"] if name not in (b"content-encoding", b"content-length")
        ]

    async def read(self, receive: Receive) -> None:
        """Receive all of it. Raises Refusal if it is too large or damaged, _ClientLeft if it ends early."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            await self._add(message.get("body", b""))
            more = message.get("more_body", False)
        if self._inflate is not None and self._received and not self._inflate.eof:
            raise Refusal(HTTPStatus.BAD_REQUEST, "The compressed body ends too early.")
        self._headers.append((b"content-length", str(self._held).encode()))

    async def _add(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._received > self._limit:
            raise too_large(self._limit)
        if self._inflate is None:
            self._keep(chunk)
            return
        while chunk:
            if self._inflate.eof:
                raise Refusal(HTTPStatus.BAD_REQUEST, "Bytes follow the end of the compressed body.")
            try:
                self._keep(self._inflate.decompress(chunk, _STEP))
            except zlib.error:
                raise Refusal(HTTPStatus.BAD_REQUEST, "The compressed body is damaged.") from None
            chunk = self._inflate.unconsumed_tail
            await asyncio.sleep(0)  # other requests go on while much is inflated

    def _keep(self, part: bytes) -> None:
        if self._held + len(part) > self._limit:
            raise too_large(self._limit)
        self._admission.hold(len(part))
        self._held += len(part)
        self._content += part

    async def replayed(self) -> Message:
        """Give the body to the application, once."""
        if self._given:
            await asyncio.Event().wait()  # the guard itself watches for a client that leaves
        self._given = True
        content, self._content = self._content, bytearray()
        return {"type": "http.request", "body": bytes(content), "more_body": False}

    def release(self) -> None:
        """Forget it."""
        self._admission.release(self._held)
        self._content = bytearray()


def _is_ipv6(host: str) -> bool:
    """Whether it is such an address without the brackets that it has in a Host header."""
    return ":" in host and not host.startswith("[")


def _without_port(host: str) -> str:
    """The name in a Host header: "localhost" of "localhost:8000", "[::1]" of "[::1]:8000"."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = refusal.body()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    await send(
        {
            "type": "http.response.start",
            "status": int(refusal.status),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
