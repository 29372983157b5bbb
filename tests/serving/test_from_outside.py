"""What somebody who can reach the server gets out of it: answers about images, and nothing else."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from classicnets.serving.models import Served
from classicnets.system.storage import sha256_of
from sentences import check_sentence
from servers import Reply, Server, form, png, running

KEY = "k3y-that-no-log-may-have"

PREFIXES = (
    "",
    "/v1",
    "/v1/models",
    "/v1/predict",
    "/v2/models",
    "/v2/models/tiny",
    "/page",
    "/page/style.css",
    "/docs",
)
STEPS = (
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", "%252e%252e%252f", "..%c0%af", "..%00/", "..;/",
    "..%ef%bc%8f",
)  # fmt: skip
TARGETS = ("etc/passwd", "bundle.json", "model.onnx")
TRAVERSALS = [f"{prefix}/{step * 8}{target}" for prefix, step, target in product(PREFIXES, STEPS, TARGETS)]


def raw(server: Server, request: bytes) -> Reply:
    """Send bytes as they are, and return the response."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


def get(server: Server, target: str, *headers: str, host: str = "localhost") -> Reply:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", ""]
    return raw(server, "\r\n".join(lines).encode("latin-1"))


def check_refused(reply: Reply, *statuses: int, given: str = "") -> None:
    """Fail unless the reply is an error in a sentence, with one of these statuses."""
    assert reply.status in statuses, reply
    assert "location" not in reply.headers
    if reply.body == b"Invalid HTTP request received.":  # it was not HTTP
        return
    (key, *more) = reply.json()
    assert (key, more) in [("error", []), ("answers", ["error"])]
    check_sentence(reply.json()["error"], given=given)


def test_no_file_is_reached(server: Server) -> None:
    assert len(set(TRAVERSALS)) >= 300
    for target in TRAVERSALS:
        reply = get(server, target)
        check_refused(reply, 400, 404, 405)
        assert b"root:" not in reply.body


@pytest.fixture
def canary() -> Iterator[socket.socket]:
    """An address that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


def url_targets(address: str) -> list[str]:
    """Request targets and parameters that name another place."""
    there = f"http://{address}/x.png"
    packed = there.replace(":", "%3a").replace("/", "%2f")
    absolute = [f"{scheme}://{address}/v1/models" for scheme in ("http", "https", "ftp", "gopher", "ws", "HTTP")]
    odd = [
        f"//{address}/v1/models", f"///{address}/v1/models", f"/\\{address}/v1/models", f"/%5c{address}/", f"/{there}",
        f"/{packed}", f"/v1/{packed}", f"/v2/models/{packed}", f"/v2/models/{packed}/ready", f"/v2/models/{there}",
        f"http://localhost@{address}/v1/models", f"http://{address}#localhost/v1/models", "file:///etc/passwd",
        "/v2/models/%00", "/v2/models/a%2fb", "/v2/models/a%2fb/ready", "/v2/models/tiny%00", "/v2/models/%2e%2e",
        "/v2/models/tiny/versions/%2e%2e", "/v2/models/tiny/versions/http:", "/v2/models/\u00e9",
        "/v2/models/%e2%80%ae",
        "/v2/models/tiny%2f..%2ftiny", "/page/http:", "/page/%2e%2e%2fapp.py", "*", "/v1//models", "//v1/models",
        "/v1/models%00", "/v1/models/", "/docs/", "/V1/MODELS", "/v1/models;a=b",
    ]  # fmt: skip
    return [*absolute, *odd]


def posts(address: str) -> list[tuple[str, bytes, dict[str, str]]]:
    """Requests that ask the server to fetch something."""
    there = f"http://{address}/x.png"
    names = ("url", "image", "image_url", "src", "file", "path", "uri", "callback")
    text = base64.b64encode(there.encode()).decode()
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [text]}
    remote = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [there]}
    shared = {"name": "images", "datatype": "UINT8", "shape": [1, 3, 8, 8], "parameters": {"shared_memory_region": "x"}}
    field = f'--limit\r\nContent-Disposition: form-data; name="url"\r\n\r\n{there}\r\n--limit--\r\n'.encode()
    as_form, as_json = {"Content-Type": "multipart/form-data; boundary=limit"}, {"Content-Type": "application/json"}
    return [
        *[(f"/v1/predict?{name}={there}", b"", {}) for name in names],
        *[("/v1/predict", json.dumps({name: there}).encode(), as_json) for name in names],
        ("/v1/predict", there.encode(), {}),
        ("/v1/predict", b"file:///etc/passwd", {}),
        ("/v1/predict", b"/etc/passwd", {}),
        ("/v1/predict", f'<svg><image href="{there}"/></svg>'.encode(), {"Content-Type": "image/svg+xml"}),
        ("/v1/predict", field, as_form),
        ("/v1/predict", *form(("x.url", f"[InternetShortcut]\r\nURL={there}".encode()))),
        *[
            ("/v2/models/tiny/infer", json.dumps({"inputs": [one]}).encode(), as_json)
            for one in (tensor, remote, shared)
        ],
    ]


def test_nothing_is_fetched(server: Server, canary: socket.socket) -> None:
    address = f"127.0.0.1:{canary.getsockname()[1]}"
    targets, requests = url_targets(address), posts(address)
    assert len(targets) + len(requests) >= 60
    for target in targets:
        check_refused(get(server, target), 400, 404, 405)
    for path, body, headers in requests:
        check_refused(server.ask("POST", path, body, headers), 400, given="x.url")
    for name in ("X-Forwarded-Host", "X-Original-URL", "X-Rewrite-URL", "Forwarded", "Referer", "Origin"):
        page = get(server, "/docs", f"{name}: http://{address}/etc")
        assert page.status == 200
        assert address.encode() not in page.body


@pytest.mark.parametrize("name", ["a/b", "../tiny", "http://tiny", "tiny\0", "TINY", "", " tiny", "tiny/../tiny"])
def test_a_model_is_asked_for_by_its_name_only(server: Server, name: str) -> None:
    from urllib.parse import quote

    check_refused(server.ask("POST", f"/v1/predict?model={quote(name, safe='')}", png(0)), 404)


HOSTS = (
    "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example@localhost",
    "localhost@evil.example", "localhost:80@evil.example", "localhost evil.example", "localhost,evil.example",
    "127.0.0.1:80:80", "localhost:", "localhost:x", "local\u00adhost", "0.0.0.0", "2130706433", "0x7f.1", "127.1",
    "169.254.169.254", "[::ffff:127.0.0.1]", "[::1].evil.example", "localhost.", "", "null", "*", "localhost/..",
    "http://localhost", "%6cocalhost",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_refused(server: Server, host: str) -> None:
    for target in ("/v1/models", "/docs", "/health/live"):
        check_refused(get(server, target, host=host), 421, 400)


def test_two_hosts_or_none(server: Server) -> None:
    check_refused(get(server, "/v1/models", "Host: evil.example"), 400)
    check_refused(raw(server, b"GET /v1/models HTTP/1.0\r\n\r\n"), 421)


@pytest.fixture(scope="module")
def locked(bundle: Path) -> Iterator[Server]:
    with running([Served("tiny", bundle)], key=KEY) as made:
        yield made


WRONG = [
    {}, {"X-API-Key": ""}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": KEY + "x"}, {"X-API-Key": KEY.upper()},
    {"X-API-Key": f"Bearer {KEY}"}, {"X-API-Key": "\xff" * 30}, {"X-API-Key": "*"}, {"X-API-Key": "x" * 20_000},
    {"Authorization": KEY[1:]}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {KEY}"},
    {"Authorization": f"bearer  {KEY}"}, {"Cookie": f"key={KEY}"}, {"X-Api-Token": KEY},
    {"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"},
]  # fmt: skip


@pytest.mark.parametrize("headers", WRONG, ids=range(len(WRONG)))
def test_a_wrong_key_opens_nothing(locked: Server, headers: dict[str, str]) -> None:
    for target in ("/v1/models", "/metrics", "/openapi.json", "/v2/models/tiny", "/v1/models?key=" + KEY, "/none"):
        reply = locked.ask("GET", target, headers=headers)
        check_refused(reply, 401)
        assert KEY.encode() not in reply.body
        assert "tiny" not in reply.body.decode()


def test_the_key_is_compared_in_constant_time(locked: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append((a, b)), compare(a, b))[1])
    locked.ask("GET", "/v1/models", headers={"X-API-Key": "guess"})
    locked.ask("GET", "/v1/models", headers={"X-API-Key": KEY})
    assert compared == [(b"guess", KEY.encode()), (KEY.encode(), KEY.encode())]


def test_the_key_is_in_no_log(bundle: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    with caplog.at_level(logging.DEBUG), running([Served("tiny", bundle)], key=KEY) as server:
        for level in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            caplog.set_level(logging.DEBUG, level)
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY + "!"}):
            server.ask("GET", "/v1/models", headers=headers)
            server.ask("POST", "/v1/predict", b"no image", headers)
        get(server, "/v1/models", f"X-API-Key: {KEY}", "Bad Header")
    out, err = capfd.readouterr()
    for text in (caplog.text, out, err, repr(server.state.telemetry.text([]))):
        assert KEY not in text


def test_no_other_site_may_read_answers(server: Server) -> None:
    origin = {"Origin": "https://evil.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for path in ("/v1/predict", "/v1/models", "/v2/models/tiny/infer", "/docs", "/none"):
        for method, headers in (("OPTIONS", asked), ("GET", origin), ("POST", origin)):
            reply = server.ask(method, path, headers=headers)
            assert not [name for name in reply.headers if name.startswith("access-control-")]
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert method != "OPTIONS" or reply.status in (404, 405)


def test_no_model_is_taken_or_changed(server: Server, bundle: Path) -> None:
    before = {path: sha256_of(path) for path in bundle.rglob("*") if path.is_file()}
    content = (bundle / "model.onnx").read_bytes()
    places = (
        "/v1/models", "/v1/models/new", "/v2/models", "/v2/models/tiny", "/v2/models/new", "/v2/models/tiny/config",
        "/v2/repository/index", "/v2/repository/models/tiny/load", "/v2/repository/models/tiny/unload", "/page/x.js",
        "/v2/systemsharedmemory/region/x/register", "/upload", "/docs", "/v2/logging", "/v2/trace/setting",
    )  # fmt: skip
    for path, method in product(places, ("POST", "PUT", "PATCH", "DELETE", "MOVE", "TRACE", "CONNECT")):
        check_refused(server.ask(method, path, content), 404, 405)
    assert {path: sha256_of(path) for path in bundle.rglob("*") if path.is_file()} == before
    assert [model["name"] for model in server.ask("GET", "/v1/models").json()["models"]] == ["tiny"]


@pytest.fixture
def written() -> Iterator[list[str]]:
    """The files that are opened for writing during the test, by any thread."""
    names: list[str] = []
    watching = True

    def see(event: str, values: tuple[Any, ...]) -> None:
        if watching and event == "open" and values[2] & (os.O_WRONLY | os.O_RDWR):
            names.append(str(values[0]))

    sys.addaudithook(see)  # for as long as the process lives
    yield names
    watching = False


def test_no_image_is_kept(server: Server, written: list[str], tmp_path: Path) -> None:
    for _ in range(3):
        assert server.ask("POST", "/v1/predict", png(0)).status == 200
        assert server.ask("POST", "/v1/predict", *form(("a.png", png(1)), ("b.png", png(2)))).status == 200
        assert server.ask("POST", "/v2/models/tiny/infer", _infer()).status == 200
    assert written == []
    (tmp_path / "seen").write_text("x")
    assert written == [str(tmp_path / "seen")]


def test_a_failure_says_nothing_of_the_inside(bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    served = Served("tiny", bundle)

    def fail(_: Any) -> None:
        raise RuntimeError(f"{bundle}/model.onnx: no such layer")

    monkeypatch.setattr(served.scorer.session, "run", fail)
    with running([served]) as server:
        for path, body in (("/v1/predict", png(0)), ("/v2/models/tiny/infer", _infer())):
            reply = server.ask("POST", path, body)
            check_refused(reply, 500)
            assert reply.json()["error"] == "The server failed on this request. Its log says why."
    assert "no such layer" in caplog.text


def _infer() -> bytes:
    text = base64.b64encode(png(0)).decode()
    return json.dumps({"inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [text]}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"inputs": ' * 1_000, b"\xff\xfe", b"{" + b'"a":1,' * 30_000 + b"}", b"9" * 100_000,
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1%s], "data": []}]}' % (b",9999999" * 10_000),
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1e400], "data": [NaN]}]}',
        b'{"inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [{"a": []}]}]}',
        b'{"inputs": [{"name": {}, "datatype": [], "shape": [1], "data": [1]}]}',
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1], "data": %b1%b}]}' % (b"[" * 99, b"]" * 99),
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1], "data": [1]}], "outputs": [[]]}',
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1], "data": [1], "parameters": 5}]}',
        json.dumps({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1], "data": [-1]}]}).encode(),
    ],
    ids=range(13),
)  # fmt: skip
def test_hostile_json_is_refused_in_a_sentence(server: Server, body: bytes) -> None:
    check_refused(server.ask("POST", "/v2/models/tiny/infer", body), 400)
