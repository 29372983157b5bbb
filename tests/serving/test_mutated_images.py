"""Damaged image files are answered or refused in a sentence, at once and within the memory that an image may take."""

from __future__ import annotations

import io
import json
import time
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from mutants import HUGE, liars, mutants, originals
from sentences import check_sentence
from servers import Server

_SECONDS = 2.0  # of the processor: other processes do not count. A reply that does not come within 20 fails too
_MEMORY = 2**29


def ask_all(server: Server, files: Iterable[tuple[str, bytes]]) -> dict[int, int]:
    """Send every file, and return how often each status came."""
    counts: dict[int, int] = {}
    for name, content in files:
        began = time.process_time()
        reply = server.ask("POST", "/v1/predict", content)
        assert time.process_time() - began < _SECONDS, name
        counts[reply.status] = counts.get(reply.status, 0) + 1
        if reply.status != 200:
            assert reply.status in (400, 413), (name, reply)
            check_sentence(reply.json()["error"])
    return counts


def test_the_files_are_whole_before_they_are_damaged(server: Server) -> None:
    files = [(kind, content) for kind, contents in originals().items() for content in contents]
    assert len({kind for kind, _ in files}) == 6
    assert ask_all(server, files) == {200: len(files)}


@pytest.mark.parametrize("side", [HUGE, 8_000])
def test_headers_that_promise_too_many_pixels(server: Server, side: int) -> None:
    for kind, content in liars(side):
        assert ask_all(server, [(kind, content)]) == {400: 1}, kind


def test_as_many_pixels_as_are_taken(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {side: _flat(side) for side in (5_000, 5_001)}
    assert ask_all(server, [("at the limit", images[5_000])]) == {200: 1}
    reply = server.ask("POST", "/v1/predict", images[5_001])
    assert (reply.status, "the limit is 25,000,000 pixels" in reply.json()["error"]) == (400, True)
    for path in ("/page/occlusion/tiny", "/v1/explain"):
        assert server.ask("POST", path, images[5_001]).status in (400, 409)
    encoded = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [b64encode(images[5_001]).decode()]}
    reply = server.ask("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [encoded]}).encode())
    assert (reply.status, "the limit is 25,000,000 pixels" in reply.json()["error"]) == (400, True)
    monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", "26000000")
    assert ask_all(server, [("allowed", images[5_001])]) == {200: 1}
    monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", "20000000")
    assert ask_all(server, [("not allowed", images[5_000])]) == {400: 1}


def _flat(side: int) -> bytes:
    """A PNG of black and white pixels: a few kilobytes for any number of them."""
    out = io.BytesIO()
    Image.new("1", (side, side)).save(out, "PNG")
    return out.getvalue()


def test_some_of_them(server: Server) -> None:
    counts = ask_all(server, mutants(150))
    assert counts[200] > 15
    assert counts[400] > 50


@pytest.mark.slow
def test_ten_thousand(server: Server) -> None:
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    counts = ask_all(server, mutants(10_000, seed=1))
    assert sum(counts.values()) == 10_000
    assert resident("VmHWM") - before < _MEMORY
    assert resident("VmRSS") - before < 2**27, "what was taken is given back"


def resident(name: str) -> int:
    """Bytes of this process's memory, now (VmRSS) or at its peak (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise KeyError(name)
