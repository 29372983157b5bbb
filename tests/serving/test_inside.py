"""/inside over HTTP: what a network makes of an image, and what is refused."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classicnets as cn
from classicnets.classifier import Classifier
from classicnets.explanation.unit import Place, Units
from classicnets.serving.models import Served
from classifiers import tiny_classifier
from photos import encode, make_photo
from servers import Server, png, running

PHOTO = encode(make_photo("disc", 3))
UNIT = "stage=conv2&channel=3&row=5&column=11"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_classifier(("cat", "dog", "cow"), channels=3).save(tmp_path_factory.mktemp("network") / "pets")


@pytest.fixture(scope="module")
def both(folder: Path, bundle: Path) -> Iterator[Server]:
    with running([Served("pets", folder), Served("tiny", bundle)]) as made:
        yield made


@pytest.fixture(scope="module")
def seen(both: Server) -> bytes:
    """What the network sees of the photo."""
    return base64.b64decode(both.ask("POST", "/inside/open?model=pets", PHOTO).json()["picture"].partition(",")[2])


def ask(server: Server, path: str, body: bytes) -> Any:
    reply = server.ask("POST", f"/inside/{path}", body)
    assert reply.status == 200, reply.body
    return reply.json()


def test_the_answer_is_that_of_predict_and_the_picture_is_what_the_network_sees(both: Server, folder: Path) -> None:
    classifier = cn.load(folder)
    opened = ask(both, "open?model=pets", PHOTO)
    guesses = classifier.predict(PHOTO).predictions
    assert [(one["label"], pytest.approx(one["before"])) for one in opened["classes"]] == [
        (guess.label, guess.score) for guess in guesses
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(opened["picture"].partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), classifier.preprocess.read(PHOTO))
    first = opened["stages"][0]
    assert first == {"name": "conv1", "channels": 16, "height": 12, "width": 12, "sees": [3, 3]}


def test_channels_as_pictures(both: Server, seen: bytes) -> None:
    found = ask(both, "maps?model=pets&stage=conv3&most=5", seen)
    assert len(found["maps"]) == 5
    highest = [one["highest"] for one in found["maps"]]
    assert highest == sorted(highest, reverse=True)
    assert found["maps"][0]["picture"].startswith("data:image/png;base64,")
    assert len(ask(both, "maps?model=pets&stage=conv3", seen)["maps"]) == 32


def test_a_unit_adds_up(both: Server, seen: bytes) -> None:
    unit = ask(both, f"unit?model=pets&{UNIT}", seen)
    source = unit["source"]
    total = sum(one["sum"] for one in source["largest"]) + source["others"] + source["bias"]
    assert total == pytest.approx(source["total"], abs=1e-4)
    assert [step["kind"] for step in unit["steps"]] == ["batch norm", "shortcut", "relu"]
    assert unit["steps"][-1]["value"] == pytest.approx(unit["value"], abs=1e-6)
    assert source["largest"][0]["patch"][0][2] is None, "the last column lies in the padding"
    assert unit["area"] == [[2, 8], [8, 11]]


def test_the_answer_moves(both: Server, seen: bytes) -> None:
    moved = ask(both, "without?model=pets&stage=conv4&channel=7", seen)["classes"]
    assert sum(one["before"] for one in moved) == pytest.approx(1)
    assert sum(one["after"] for one in moved) == pytest.approx(1)
    one = ask(both, "without?model=pets&stage=conv4&channel=7&row=1&column=1", seen)["classes"]
    assert one != moved


def test_many_ask_at_once(both: Server, seen: bytes) -> None:
    paths = [f"unit?model=pets&stage=conv3&channel={i}&row=2&column=3" for i in range(12)]
    alone = [ask(both, path, seen) for path in paths]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda path: ask(both, path, seen), paths)) == alone


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_come_back_as_they_were(tmp_path: Path, channels: int) -> None:
    classifier = tiny_classifier(channels=channels)
    preprocess = replace(classifier.preprocess, crop_fraction=0.6)
    classifier = Classifier.of(replace(classifier.card, preprocess=preprocess), classifier.model)
    pixels = torch.from_numpy(preprocess.read(PHOTO))
    expected = Units(classifier).value(pixels, Place("conv2", 3, 5, 11))
    with running([Served("net", classifier.save(tmp_path / "net"))]) as server:
        body = base64.b64decode(ask(server, "open", PHOTO)["picture"].partition(",")[2])
        assert ask(server, f"unit?{UNIT}", body)["value"] == pytest.approx(expected.value, abs=1e-6)


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("open?model=tiny", 409, "tiny is a bundle, which keeps no network to look into. Serve its run instead"),
        ("open?model=pest", 404, "There is no such model. Did you mean pets?"),
        ("maps?model=pets&stage=conv7", 400, "conv7"),
        ("maps?model=pets&stage=conv2&most=0", 400, "most: Input should be greater than or equal to 1."),
        ("unit?model=pets&stage=conv2&channel=0&row=0", 400, "column: Field required."),
        ("unit?model=pets&stage=conv2&channel=0&row=12&column=0", 400, "The row must be from 0 to 11 in conv2"),
        ("unit?model=pets&stage=conv2&channel=-1&row=0&column=0", 400, "channel: Input should be greater"),
        ("without?model=pets&stage=conv2&channel=16", 400, "The channel must be from 0 to 15 in conv2"),
        ("without?model=pets&stage=conv2&channel=1&row=3", 400, "Give row and column for a unit, or neither"),
    ],
)
def test_mistakes(both: Server, seen: bytes, path: str, status: int, sentence: str) -> None:
    reply = both.ask("POST", f"/inside/{path}", seen)
    assert reply.status == status
    assert sentence in reply.json()["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "The request has no image."),
        (b"text", "not an image"),
        (png(0), "it is not what /inside/open answered with"),
        (encode(make_photo("disc", 0, (1000, 900)), "png"), "it is not what /inside/open answered with"),
    ],
)
def test_another_body(both: Server, body: bytes, sentence: str) -> None:
    for path in (f"unit?model=pets&{UNIT}", "maps?model=pets&stage=conv1", "without?model=pets&stage=conv1&channel=0"):
        reply = both.ask("POST", f"/inside/{path}", body)
        assert reply.status == 400
        assert sentence in reply.json()["error"]


def test_a_model_that_is_replaced_is_looked_into_anew(tmp_path: Path) -> None:
    folder = tiny_classifier(channels=3).save(tmp_path / "net")
    served = Served("net", folder)
    with running([served]) as server:
        body = base64.b64decode(ask(server, "open", PHOTO)["picture"].partition(",")[2])
        before = ask(server, f"unit?{UNIT}", body)
        other = tiny_classifier(channels=3)
        other.model.trunk.conv1.conv.weight.data.mul_(2)
        other.save(folder)
        assert served.refresh()
        assert ask(server, f"unit?{UNIT}", body)["value"] != before["value"]
        assert len(server.state.units) == 1


def test_the_key_and_the_limits_hold(folder: Path) -> None:
    with running([Served("pets", folder)], key="secret", body=50_000) as server:
        assert server.ask("POST", "/inside/open", PHOTO).status == 401
        assert server.ask("POST", "/inside/open", PHOTO, {"X-API-Key": "secret"}).status == 200
        assert server.ask("POST", "/inside/open", bytes(50_001), {"X-API-Key": "secret"}).status == 413
        page = server.ask("GET", "/inside")
        assert page.status == 200, "the page says nothing about the model, and needs no key"
        assert b"pets" not in page.body
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert server.ask("GET", "/inside", headers={"Host": "evil.example"}).status == 421
