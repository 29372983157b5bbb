"""What a server refuses, and that it goes on answering meanwhile."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.applications import Starlette

from classicnets.errors import ConfigError
from classicnets.serving.admission import Admission
from classicnets.serving.guard import Guard
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served
from classicnets.serving.refusal import Refusal
from classicnets.serving.server import check_address
from servers import Server, form, png, running, until


def test_another_host(server: Server) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        reply = server.ask("GET", "/v1/models", headers={"Host": host})
        assert reply.status == 421
        assert list(reply.json()) == ["error"]
    assert server.ask("GET", "/v1/models", headers={"Host": "localhost:1234"}).status == 200


def test_an_ipv6_address_has_brackets_in_the_header() -> None:
    guard = Guard(Starlette(), Admission(Limits(workers=1)), hosts=["FD00::1"], key=None)
    guard._check({"path": "/", "headers": [(b"host", b"[fd00::1]:8000")]})
    with pytest.raises(Refusal, match="does not answer for that Host"):
        guard._check({"path": "/", "headers": [(b"host", b"[fd00::2]:8000")]})


def test_every_response_has_the_headers(server: Server) -> None:
    for path in ("/v1/models", "/none", "/metrics"):
        headers = server.ask("GET", path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.fixture(scope="module")
def locked(bundle: Path) -> Iterator[Server]:
    with running([Served("tiny", bundle)], key="secret") as made:
        yield made


class TestKey:
    @pytest.mark.parametrize("headers", [{"X-API-Key": "secret"}, {"Authorization": "Bearer secret"}], ids=str)
    def test_it_opens(self, locked: Server, headers: dict[str, str]) -> None:
        assert locked.ask("POST", "/v1/predict", png(0), headers).status == 200

    @pytest.mark.parametrize("headers", [{}, {"X-API-Key": "secre"}, {"Authorization": "Bearer "}], ids=str)
    def test_without_it_nothing_is_answered(self, locked: Server, headers: dict[str, str]) -> None:
        for path in ("/v1/models", "/metrics", "/openapi.json", "/v2"):
            assert locked.ask("GET", path, headers=headers).status == 401

    def test_probes_need_none(self, locked: Server) -> None:
        assert locked.ask("GET", "/health/live").status == locked.ask("GET", "/v2/health/ready").status == 200


def test_an_address_that_others_reach_needs_a_key() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        check_address(host, None, insecure=False)
    with pytest.raises(ConfigError, match=r"On 0\.0\.0\.0, others can use this server"):
        check_address("0.0.0.0", None, insecure=False)
    check_address("0.0.0.0", "key", insecure=False)
    check_address("0.0.0.0", None, insecure=True)


class TestBody:
    def test_the_length_is_refused_before_the_body(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200001\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")

    def test_a_client_that_sends_first_and_reads_then_gets_the_answer(self, server: Server) -> None:
        assert server.ask("POST", "/v1/predict", bytes(30_000_000)).status == 413

    def test_a_chunked_body_without_an_end(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(4):
                connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
        until(lambda: server.state.admission.held == 0)

    def test_compressed_bytes_count_too(self, server: Server) -> None:
        empty_blocks = zlib.compress(b"")[:2] + b"\0\0\0\xff\xff" * 50_000  # they inflate to nothing
        head = (
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: deflate\r\nTransfer-Encoding: chunked"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(head + b"\r\n\r\n%x\r\n" % len(empty_blocks) + empty_blocks + b"\r\n0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")

    def test_a_bomb_is_not_inflated(self, server: Server) -> None:
        bomb = gzip.compress(bytes(10_000_000))
        reply = server.ask("POST", "/v1/predict", bomb, {"Content-Encoding": "gzip"})
        assert (reply.status, reply.json()["error"][:44]) == (413, "The request has more than 200,000 bytes. Sen")

    @pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
    def test_compressed_images(self, server: Server, name: str, pack) -> None:
        plain = server.ask("POST", "/v1/predict", png(1))
        assert server.ask("POST", "/v1/predict", pack(png(1)), {"Content-Encoding": name}).body == plain.body

    @pytest.mark.parametrize(
        ("body", "encoding", "status"),
        [
            (b"x", "gzip", 400),
            (gzip.compress(b"a" * 99)[:20], "gzip", 400),
            (gzip.compress(b"a") + b"more", "gzip", 400),
            (gzip.compress(b"") * 2, "gzip", 400),
            (b"x", "br", 415),
        ],
        ids=["no gzip", "cut short", "more follows", "two members", "brotli"],
    )
    def test_damage(self, server: Server, body: bytes, encoding: str, status: int) -> None:
        assert server.ask("POST", "/v1/predict", body, {"Content-Encoding": encoding}).status == status


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
)
def test_a_second_request_cannot_be_smuggled(server: Server, lengths: bytes) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n" + lengths + b"\r\n0\r\n\r\n" + smuggled)
        replies = b"".join(iter(lambda: connection.recv(1000), b""))  # until the server closes the connection
    assert replies.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert replies.count(b"HTTP/1.1 ") == 1


def test_a_megabyte_of_headers(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        with suppress(ConnectionError):  # the server does not wait for all of it
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 1_000_000 + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert server.ask("GET", "/health/live").status == 200


class TestLoad:
    @pytest.fixture
    def slow(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, threading.Event]]:
        """A server with one worker and room for one more, whose model waits for an event."""
        served = Served("tiny", bundle)
        go, run = threading.Event(), served.scorer.session.run
        monkeypatch.setattr(served.scorer.session, "run", lambda images: (go.wait(10), run(images))[1])
        with running([served], workers=1, waiting=1, seconds=3) as made:
            try:
                yield made, go
            finally:
                go.set()

    def test_what_is_too_much_is_refused_at_once_and_the_rest_is_answered(self, slow) -> None:
        server, go = slow
        replies = []
        threads = [
            threading.Thread(target=lambda: replies.append(server.ask("POST", "/v1/predict", png(0)))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: server.state.admission.inside == 2)
        began = time.perf_counter()
        reply = server.ask("POST", "/v1/predict", png(0))
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 503 "), "before its body is read"
        assert time.perf_counter() - began < 1
        counted = server.ask("GET", "/metrics").body.decode()
        assert 'classicnets_requests_total{route="other",status="503"} 2.0' in counted
        assert server.ask("GET", "/health/ready").status == 200
        go.set()
        for thread in threads:
            thread.join()
        assert [reply.status for reply in replies] == [200, 200]
        until(lambda: server.state.admission.inside == 0)

    def test_a_client_that_leaves_frees_its_place(self, slow) -> None:
        server, go = slow
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(png(0))
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for connection in connections:
            connection.sendall(head + png(0))
        until(lambda: server.state.admission.inside == 2)
        for connection in connections:
            connection.close()
        until(lambda: server.state.admission.inside == 1)  # the one that computes ends by itself
        go.set()
        until(lambda: server.state.admission.inside == 0)
        assert server.state.admission.held == 0

    def test_images_that_nobody_waits_for_any_more_are_not_computed(self, slow) -> None:
        server, go = slow
        body, headers = form(*[("a.png", png(0))] * 50)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            start = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{head}\r\n"
            connection.sendall(start.encode() + body)
            until(lambda: server.state.admission.inside == 1)
        until(lambda: server.state.admission.held == 0)
        go.set()
        until(lambda: server.state.admission.inside == 0)
        assert 'classicnets_images_total{label="red",model="tiny"} 1.0' in server.ask("GET", "/metrics").body.decode()

    def test_a_request_that_takes_too_long(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        served = Served("tiny", bundle)
        go, run = threading.Event(), served.scorer.session.run
        monkeypatch.setattr(served.scorer.session, "run", lambda images: (go.wait(10), run(images))[1])
        with running([served], seconds=0.2) as server:
            reply = server.ask("POST", "/v1/predict", png(0))
            assert (reply.status, reply.json()["error"]) == (503, "The request took too long. Send it again later.")
            go.set()
            until(lambda: server.state.admission.inside == 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, r"limits\.workers must be 1"),
        ({"workers": 1, "seconds": 0}, r"limits\.seconds must be above"),
    ],
)
def test_limits(given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Limits(**given)
