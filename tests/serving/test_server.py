"""Models under their names, replaced while they answer; a server that stops."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bundles import write_bundle
from classicnets.errors import ConfigError
from classicnets.serving.models import Served, serve_names
from classicnets.serving.server import serve
from servers import png, served, until

READY = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_names(tmp_path: Path) -> None:
    bundle = tmp_path / "birds" / "bundle"
    named = serve_names([bundle, Path(f"old={tmp_path}")])
    assert named == {"birds": bundle, "old": tmp_path}
    with pytest.raises(ConfigError, match="Two models are called birds"):
        serve_names([bundle, Path("birds")])
    with pytest.raises(ConfigError, match="cannot be a model's name in an address"):
        serve_names([Path("my birds")])


def test_a_model_is_loaded_again_when_it_is_replaced(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    served = Served("tiny", folder)
    before = served.scorer
    assert not served.refresh()
    write_bundle(tmp_path / "new")
    os.replace(tmp_path / "new" / "bundle.json", folder / "bundle.json")
    assert served.refresh()
    assert served.version == 2
    assert served.scorer is not before
    current = served.scorer
    (folder / "bundle.json").write_text("{", "utf-8")
    assert not served.refresh(), "what cannot be loaded replaces nothing"
    assert served.scorer is current


def test_sigterm_finishes_what_was_accepted_and_exits_with_0(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "classicnets", "serve", str(folder), "--port", str(port)], stderr=subprocess.PIPE
    )
    try:
        until(lambda: _ready(port) == b"HTTP/1.1 200 ")
        with _connect(port) as connection:
            length = len(png(0))
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length)
            process.send_signal(signal.SIGTERM)
            until(lambda: _ready(port) == b"HTTP/1.1 503 ")
            time.sleep(0.7)  # it accepts no more by now
            connection.sendall(png(0))
            answer = connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close\r\n" in answer
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    shutil.rmtree(folder)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Nothing can listen on 127.0.0.1, port {port}: Address already in use"):
            serve([folder], port=port)


def _ready(port: int) -> bytes:
    """The first bytes of what the server says to a probe."""
    with _connect(port) as probe:
        probe.sendall(READY)
        return probe.recv(13)


def _connect(port: int) -> socket.socket:
    for _ in range(2000):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            time.sleep(0.01)
    pytest.fail("the server never listened")


def test_an_answer_does_not_wait_until_its_head_is_acknowledged(bundle: Path) -> None:
    """A system that joins small writes holds back the body for 40 ms."""
    with served(bundle) as process, closing(HTTPConnection("127.0.0.1", process.port, timeout=10)) as connection:
        taken = []
        for _ in range(20):
            began = time.perf_counter()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            taken.append(time.perf_counter() - began)
    assert min(taken[1:]) < 0.02
