"""Two hundred clients that mean no good, of each kind: a normal request is answered within a second meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from servers import Process, form, png, served

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
MEBIBYTE = 2**20
_PARTS, _FORM = form(*[("a.png", b"x")] * 10_000)


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Process]:
    with served(bundle) as made:
        yield made


async def sends_its_head_slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in POST * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def sends_its_body_slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Content-Length: 1000000\r\n\r\n" + bytes(100_000))
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.2)


async def reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
    await asyncio.sleep(60)


async def sends_a_body_without_an_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"%x\r\n" % MEBIBYTE + bytes(MEBIBYTE) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def sends_ten_thousand_parts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    kind = f"Content-Type: {_FORM['Content-Type']}\r\nContent-Length: {len(_PARTS)}\r\n\r\n"
    while True:
        writer.write(POST + kind.encode() + _PARTS)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}")


async def sends_a_megabyte_of_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(1000)))
    await writer.drain()


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(512 * MEBIBYTE), 9)


async def sends_a_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(POST + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb()) + bomb())
        assert (await reader.readuntil(b"\r\n")).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 503 "))
        await reader.readuntil(b"}")


async def sends_two_lengths(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
    assert (await reader.read()).count(b"HTTP/1.1 ") == 1


async def connects_and_says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@contextmanager
def attacked(port: int, client: Client, count: int) -> Iterator[None]:
    """Run so many clients, each again when it has ended, in a thread, until the block ends."""
    ended = threading.Event()

    async def again() -> None:
        while not ended.is_set():
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await client(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.1)

    async def run() -> None:
        clients = [asyncio.create_task(again()) for _ in range(count)]
        while not ended.is_set():
            await asyncio.sleep(0.05)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "count"),
    [
        (connects_and_says_nothing, 200),
        (connects_and_says_nothing, 1200),
        (sends_its_head_slowly, 200),
        (sends_its_body_slowly, 200),
        (reads_nothing, 200),
        (sends_a_body_without_an_end, 20),
        (sends_ten_thousand_parts, 10),
        (sends_a_megabyte_of_headers, 20),
        (sends_a_bomb, 10),
        (sends_two_lengths, 20),
    ],
)
def test_a_normal_request_is_answered_within_a_second(server: Process, client: Client, count: int) -> None:
    taken = []
    with attacked(server.port, client, count):
        time.sleep(3)
        for _ in range(40):
            began = time.perf_counter()
            reply = server.ask("POST", "/v1/predict", png(2))
            taken.append(time.perf_counter() - began)
            assert (reply.status, reply.json()["answers"][0]["predictions"][0]["label"]) == (200, "blue")
            time.sleep(0.1)
    print(f"{client.__name__} x {count}: {max(taken):.3f} s at most, {server.mebibytes():.0f} MiB")
    assert max(taken) < 1
