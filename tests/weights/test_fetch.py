"""Published files come through their checksum or not at all. The server is here, and the files are made here."""

import hashlib
import os
import socket
from pathlib import Path

import pytest
import torch
from file_server import Server

from classicnets.errors import ChecksumMismatch, StorageError, WeightsError
from classicnets.weights import fetch as fetch_module
from classicnets.weights.fetch import fetch

CONTENT = b"weights, as it were" * 1000
pytestmark = pytest.mark.usefixtures("own_caches")

NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


def test_a_file_is_fetched_once_and_kept(server: Server, tmp_path: Path) -> None:
    server.files[f"/{NAME}"] = CONTENT
    path = fetch(f"{server.url}/{NAME}")
    assert path == tmp_path / "cache" / "weights" / NAME
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [NAME]
    assert fetch(f"{server.url}/{NAME}") == path
    assert server.asked == [f"/{NAME}"]


def test_torchs_own_cache_is_used_and_left_alone(tmp_path: Path) -> None:
    theirs = Path(torch.hub.get_dir()) / "checkpoints" / NAME
    assert theirs.is_relative_to(tmp_path)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(CONTENT)
    assert fetch(f"http://127.0.0.1:9/{NAME}") == theirs


def test_a_file_put_into_the_cache_by_hand_is_used(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "weights" / NAME
    with pytest.raises(WeightsError) as caught:
        fetch(f"http://127.0.0.1:9/{NAME}")
    assert f"Cannot fetch http://127.0.0.1:9/{NAME}" in str(caught.value)
    assert f"put it at {place}" in str(caught.value)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(CONTENT)
    assert fetch(f"http://127.0.0.1:9/{NAME}") == place


@pytest.mark.parametrize("content", [CONTENT[:-1], b"<html>log in to this network</html>", b""])
def test_another_content_is_refused_and_not_kept(server: Server, tmp_path: Path, content: bytes) -> None:
    server.files[f"/{NAME}"] = content
    with pytest.raises(ChecksumMismatch, match=rf"{NAME} is damaged or was changed: .* downloaded from {server.url}"):
        fetch(f"{server.url}/{NAME}")
    assert os.listdir(tmp_path / "cache" / "weights") == []


def test_a_damaged_file_in_the_cache_is_refused_with_the_way_out(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "weights" / NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    with pytest.raises(ChecksumMismatch, match=rf"Remove {place}"):
        fetch(f"http://127.0.0.1:9/{NAME}")


def test_a_file_that_is_not_there_names_the_url_and_the_place(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"Cannot fetch {server.url}/{NAME} \(Not Found\)"):
        fetch(f"{server.url}/{NAME}")


def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "_PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(WeightsError, match="timed out"):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}")


def test_a_file_without_end_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "MAX_BYTES", 1000)
    server.files[f"/{NAME}"] = CONTENT
    with pytest.raises(WeightsError, match="larger than 1,000 bytes"):
        fetch(f"{server.url}/{NAME}")
    assert os.listdir(tmp_path / "cache" / "weights") == []


def test_a_url_without_a_checksum_is_not_trusted(server: Server) -> None:
    server.files["/net.pth"] = CONTENT
    with pytest.raises(WeightsError, match="has no checksum in its name"):
        fetch(f"{server.url}/net.pth")
    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_a_storage_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[f"/{NAME}"] = CONTENT
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLASSICNETS_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="Cannot write"):
        fetch(f"{server.url}/{NAME}")
