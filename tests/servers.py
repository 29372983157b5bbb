"""A server in a thread for tests, and what asks it."""

from __future__ import annotations

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from bundles import colour
from classicnets.serving import server as serving
from classicnets.serving.app import State, create_app
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server(NamedTuple):
    """A server that runs."""

    port: int
    state: State

    def ask(
        self, method: str, path: str, body: bytes | Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}), **more)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()


@contextmanager
def running(models: list[Served], *, key: str | None = None, **limits: Any) -> Iterator[Server]:
    """Serve models on a free port until the block ends."""
    given = Limits(**{"workers": 2, **limits})
    app, state = create_app(models, limits=given, hosts=["127.0.0.1", "localhost"], key=key)
    server = serving.Server(app, state, given)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield Server(listener.getsockname()[1], state)
        finally:
            server.should_exit = True
            thread.join(20)


_DELAYED = """
import sys, time
from classicnets.deployment.engines import onnxruntime
run = onnxruntime.OnnxRuntimeSession.run
def delayed(session, images):
    time.sleep({delay})
    return run(session, images)
onnxruntime.OnnxRuntimeSession.run = delayed
from classicnets.cli.main import main
main()
"""


class Process(NamedTuple):
    """A server in a process of its own."""

    port: int
    popen: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: bytes | None = None) -> Reply:
        return Server(self.port, None).ask(method, path, body)  # type: ignore[arg-type]

    def mebibytes(self) -> float:
        """The memory that it holds."""
        text = Path(f"/proc/{self.popen.pid}/status").read_text("utf-8")
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)


@contextmanager
def served(folder: Path, *options: str, delay: float = 0.0) -> Iterator[Process]:
    """`classicnets serve` with a bundle for ONNX Runtime, whose network takes `delay` seconds longer."""
    program = _DELAYED.format(delay=delay)
    command = [sys.executable, "-c", program, "serve", f"tiny={folder}", "--port", "0", *options]
    popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = popen.stderr.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert port is not None, said + popen.stderr.read()
        threading.Thread(target=popen.stderr.read, daemon=True).start()  # a full pipe would stop the server
        yield Process(int(port[1]), popen)
    finally:
        popen.kill()
        popen.wait()
        popen.stderr.close()


def png(k: int) -> bytes:
    """An image file of class k."""
    out = io.BytesIO()
    Image.fromarray(colour(k).transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a form with files, by their names."""
    head = b'--limit\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\n'
    parts = [head % name.encode() + content + b"\r\n" for name, content in files]
    return b"".join(parts) + b"--limit--\r\n", {"Content-Type": "multipart/form-data; boundary=limit"}


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after ten seconds."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never came true")


def prepared(k: int) -> np.ndarray:
    """The image of class k as the network takes it: uint8 (3, 8, 8)."""
    return colour(k)[:, 2:10]
