"""The page that corrects labels, over HTTP: what it answers, what it refuses, what it saves."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from classicnets.audit.correct_page import CorrectPage
from classicnets.audit.decisions import Decisions
from classicnets.audit.suspects import LabelAudit, Suspect
from classicnets.data.corrections import Correction, read_corrections
from classicnets.errors import ConfigError, DataError
from classicnets.system import storage
from local_pages import correcting
from photos import write_photos


@pytest.fixture
def audit_folder(tmp_path: Path) -> Path:
    """A saved audit of nine photos with two suspects, one of which is gone."""
    write_photos(tmp_path / "photos", 3)
    suspects = (
        Suspect("disc/000.jpg", "disc", "square", 0.9, ("disc/001.jpg",), ("square/000.jpg", "square/001.jpg")),
        Suspect("stripes/gone.jpg", "stripes", "disc", 0.8),
    )
    audit = LabelAudit(
        data="photos", source=str(tmp_path / "photos"), part="train", classes=("disc", "square", "stripes"),
        num_images=10, expected_wrong=2.0, agreement=0.8, suspects=suspects, method="by hand",
    )  # fmt: skip
    return audit.save(tmp_path / "audit")


@pytest.fixture
def server(audit_folder: Path) -> Iterator[CorrectPage]:
    with correcting(audit_folder) as server:
        yield server


def ask(
    server: CorrectPage, method: str, place: str, body: object = None, *, whole: bool = False, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Status, answer and headers. `place` is below the token, or `whole`."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = {"Host": f"127.0.0.1:{port}"}
    data = None
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent |= {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{port}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, place if whole else f"/{server.token}/{place}", data, sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    is_json = answer.headers["Content-Type"] == "application/json"
    return answer.status, json.loads(text) if is_json else text, dict(answer.headers)


def decide(server: CorrectPage, number: object, action: object, label: object = "", **headers: str) -> tuple[int, Any]:
    return ask(server, "POST", "decide", {"number": number, "action": action, "label": label}, **headers)[:2]


def test_the_page_and_its_policy(server: CorrectPage) -> None:
    status, page, headers = ask(server, "GET", "")
    assert status == 200
    assert "Correct the labels of photos" in page
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', page))
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'nonce-{nonce}'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"(?:src|href)=", page.replace('src="data:', "")), "no other file"
    assert "style=" not in page, "the policy allows no inline style"
    assert headers["Cache-Control"] == "no-store"
    assert nonce not in ask(server, "GET", "")[1]


def test_suspects_and_their_pictures(server: CorrectPage) -> None:
    _, state, _ = ask(server, "GET", "state")
    assert [suspect["path"] for suspect in state["suspects"]] == ["disc/000.jpg", "stripes/gone.jpg"]
    assert state["suspects"][0]["decision"] is None
    assert state["classes"] == ["disc", "square", "stripes"]
    _, first, _ = ask(server, "GET", "suspect/0")
    assert first["picture"].startswith("data:image/")
    assert [image["path"] for image in first["like_proposed"]] == ["square/000.jpg", "square/001.jpg"]
    assert ask(server, "GET", "suspect/1")[1]["picture"] == ""
    for place in ("suspect/2", "suspect/-1", "suspect/x", "suspect/99999999999", "other"):
        assert ask(server, "GET", place)[0] == 404


def test_every_decision_is_saved_at_once(server: CorrectPage, audit_folder: Path) -> None:
    file = audit_folder / "corrections.csv"
    assert not file.exists()
    assert decide(server, 0, "relabel", "stripes") == (200, {"saved": True})
    assert read_corrections(file) == {"disc/000.jpg": Correction("relabel", "stripes")}
    with file.open("a") as out:
        out.write("square/002.jpg,keep,\n")  # by hand, meanwhile
    assert decide(server, 1, "drop", "square")[0] == 200
    assert decide(server, 0, "keep")[0] == 200
    assert read_corrections(file) == {
        "square/002.jpg": Correction("keep"),
        "stripes/gone.jpg": Correction("drop"),
        "disc/000.jpg": Correction("keep"),
    }
    assert ask(server, "GET", "state")[1]["suspects"][1]["decision"] == {"action": "drop", "label": ""}
    assert decide(server, 1, "")[0] == 200
    assert "stripes/gone.jpg" not in read_corrections(file)


def test_decisions_survive_the_page(audit_folder: Path) -> None:
    Decisions.open(audit_folder).decide(0, "drop", "")
    again = Decisions.open(audit_folder).state()
    assert again["suspects"][0]["decision"] == {"action": "drop", "label": ""}


@pytest.mark.parametrize(
    ("number", "action", "label"),
    [(2, "keep", ""), (-1, "keep", ""), (0, "remove", ""), (0, "relabel", "zebra"), (0, "relabel", ""),
     ("0", "keep", ""), (True, "keep", ""), (0, None, ""), (0, "keep", None)],
)  # fmt: skip
def test_decisions_that_cannot_be(server: CorrectPage, audit_folder: Path, number, action, label) -> None:
    status, answer = decide(server, number, action, label)
    assert status == 400
    assert answer["error"]
    assert not (audit_folder / "corrections.csv").exists()


def test_requests_from_elsewhere_are_refused(server: CorrectPage, audit_folder: Path) -> None:
    port = server.server_address[1]
    assert ask(server, "GET", "/", whole=True)[0] == 404
    assert ask(server, "GET", "/wrong/state", whole=True)[0] == 404
    assert ask(server, "GET", f"/{server.token[:-1]}/state", whole=True)[0] == 404
    assert ask(server, "GET", "state", Host="evil.example")[0] == 403
    assert ask(server, "GET", "state", Host=f"evil.example:{port}")[0] == 403
    assert ask(server, "GET", "state", Origin="http://evil.example")[0] == 403
    assert decide(server, 0, "drop", Origin="http://evil.example")[0] == 403
    assert decide(server, 0, "drop", Origin="null")[0] == 403
    assert ask(server, "POST", "decide", b"{}", Content_Type="text/plain")[0] == 415
    assert ask(server, "POST", "decide", b"x" * 5000)[0] == 413
    assert ask(server, "POST", "decide", b"{")[0] == 400
    assert ask(server, "POST", "decide", b"[" * 4000)[0] == 400
    assert ask(server, "POST", "elsewhere", {})[0] == 404
    assert ask(server, "PUT", "decide", {})[0] == 501
    without_origin = f"POST /{server.token}/decide HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    for rest, status in (
        ("Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", b" 403 "),
        ("Content-Type: application/json\r\n\r\n", b" 411 "),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b" 411 "),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall((without_origin + rest).encode())
            assert status in connection.recv(200)
    assert not (audit_folder / "corrections.csv").exists()
    assert decide(server, 0, "keep")[0] == 200, "and it still answers the page"


def test_a_full_disk_is_said_and_nothing_is_lost(
    server: CorrectPage, audit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decide(server, 0, "drop")[0] == 200

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_flush", full)
        status, answer = decide(server, 1, "keep")
    assert status == 507
    assert "No space left" in answer["error"]
    assert read_corrections(audit_folder / "corrections.csv") == {"disc/000.jpg": Correction("drop")}


def test_a_broken_corrections_file_is_named(server: CorrectPage, audit_folder: Path) -> None:
    (audit_folder / "corrections.csv").write_text("path,action,label\ndisc/000.jpg,burn,\n")
    status, answer = decide(server, 0, "keep")
    assert status == 400
    assert "line 2" in answer["error"]
    assert "burn" in (audit_folder / "corrections.csv").read_text()
    with pytest.raises(DataError, match="line 2"):
        Decisions.open(audit_folder)


def test_images_that_are_gone_and_a_port_that_is_taken(audit_folder: Path, server: CorrectPage) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        CorrectPage(server.decisions, server.server_address[1])
    (audit_folder.parent / "photos").rename(audit_folder.parent / "moved")
    with pytest.raises(DataError, match="no folder or file"):
        Decisions.open(audit_folder)
    with pytest.raises(DataError, match="no audit of labels"):
        Decisions.open(audit_folder.parent / "moved")
