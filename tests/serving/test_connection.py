"""Clients that send or read slowly, and many of them: the server goes on answering."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from classicnets.serving import connection
from classicnets.serving.models import Served
from servers import Server, png, running, until

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def hasty(bundle: Path) -> Iterator[Server]:
    """A server that waits 0.3 s for a head, and takes 0.3 s for its answer."""
    with running([Served("tiny", bundle)], head_seconds=0.3, seconds=0.3) as made:
        yield made


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def sent_until_closed(client: socket.socket, data: bytes, *, every: float) -> int:
    """Send data again and again, until the server closes the connection, and return how often."""
    for sent in range(5000):
        try:
            client.sendall(data)
        except ConnectionError:
            return sent
        time.sleep(every)
    pytest.fail("the connection was never closed")


def rest(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while more := client.recv(1000):
            received += more
    return received


@pytest.mark.parametrize("sent", [b"", b"POST ", HEAD], ids=["nothing", "a word", "no end"])
def test_a_head_that_does_not_come_closes_the_connection(hasty: Server, sent: bytes) -> None:
    with connected(hasty) as client:
        client.sendall(sent)
        assert rest(client) == b""


def test_a_head_that_comes_byte_by_byte_gets_no_more_time(hasty: Server) -> None:
    with connected(hasty) as client:
        assert sent_until_closed(client, b"a", every=0.01) < 300


def test_the_second_request_of_a_connection_gets_no_more_time_either(hasty: Server) -> None:
    with connected(hasty) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET ")
        assert rest(client).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_does_not_come_is_answered_at_the_deadline(hasty: Server) -> None:
    with connected(hasty) as client:
        client.sendall(HEAD + b"Content-Length: 10\r\n\r\nabc")
        assert client.recv(1000).startswith(b"HTTP/1.1 503 ")
    until(lambda: hasty.state.admission.held == 0)


def test_an_answer_that_is_not_read_closes_the_connection(hasty: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_GRACE", 0.1)
    with connected(hasty) as client:  # more answers than the buffers of the system hold
        sent_until_closed(client, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", every=0.001)
    assert hasty.ask("POST", "/v1/predict", png(0)).status == 200


def test_of_too_many_connections_the_one_that_waits_longest_makes_room(bundle: Path) -> None:
    with running([Served("tiny", bundle)], connections=4) as server, ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(4)]
        assert server.ask("POST", "/v1/predict", png(0)).status == 200
        began = time.perf_counter()
        assert rest(clients[0]) == b""
        assert time.perf_counter() - began < 5, "closed to make room, and not for its time"
        clients[1].sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[1].recv(100).startswith(b"HTTP/1.1 200 ")
