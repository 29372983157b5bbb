"""/v1 answers as the command line does."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import classicnets as cn
from classicnets.serving.models import Served
from classifiers import tiny_classifier
from servers import Server, form, png, running


def test_one_image_gets_the_answer_of_predict(server: Server, bundle: Path) -> None:
    reply = server.ask("POST", "/v1/predict", png(1))
    (answer,) = reply.json()["answers"]
    assert reply.status == 200
    assert answer == cn.load(bundle).predict(png(1)).to_dict() | {"path": "image 0"}


def test_many_images_get_the_numbers_that_each_gets_alone(server: Server) -> None:
    files = [(f"{k}.png", png(k)) for k in (2, 0, 1)]
    answers = server.ask("POST", "/v1/predict", *form(*files)).json()["answers"]
    assert [answer["path"] for answer in answers] == ["2.png", "0.png", "1.png"]
    alone = [server.ask("POST", "/v1/predict", content).json()["answers"][0] for _, content in files]
    assert [answer["predictions"] for answer in answers] == [answer["predictions"] for answer in alone]


def test_a_bad_image_does_not_stop_the_others(server: Server) -> None:
    reply = server.ask("POST", "/v1/predict", *form(("a.png", png(0)), ("b.txt", b"text")))
    good, bad = reply.json()["answers"]
    assert reply.status == 200
    assert good["predictions"][0]["label"] == "red"
    assert bad["path"] == "b.txt"
    assert bad["error"].startswith("b.txt: this is not an image in a known format")


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/v1/predict", b"text", 400, "image 0: this is not an image in a known format"),
        ("/v1/predict", b"", 400, "The request has no image."),
        ("/v1/predict?top_k=0", png(0), 400, "top_k: Input should be greater than or equal to 1."),
        ("/v1/predict?coverage=1", png(0), 400, "coverage: Input should be less than 1."),
        ("/v1/predict?coverage=0.9", png(0), 400, "This classifier cannot give sets with coverage"),
        ("/v1/predict?model=tinny", png(0), 404, "There is no such model. Did you mean tiny?"),
        ("/v1/explain", png(0), 409, "tiny is a bundle, which cannot be explained."),
        ("/v1/none", b"", 404, "Not Found."),
    ],
    ids=str,
)
def test_mistakes(server: Server, path: str, body: bytes, status: int, sentence: str) -> None:
    reply = server.ask("POST", path, body)
    assert (reply.status, reply.json()["error"][: len(sentence)]) == (status, sentence)


def test_top_k(server: Server) -> None:
    (answer,) = server.ask("POST", "/v1/predict?top_k=1", png(0)).json()["answers"]
    assert [guess["label"] for guess in answer["predictions"]] == ["red"]


def test_more_images_than_allowed(server: Server) -> None:
    reply = server.ask("POST", "/v1/predict", *form(*[(f"{i}.png", png(0)) for i in range(5)]))
    assert reply.status == 400
    assert reply.json()["error"] == "The form has more than 4 files. Send fewer at a time."


def test_models_and_metrics(server: Server) -> None:
    (model,) = server.ask("GET", "/v1/models").json()["models"]
    assert model["name"] == "tiny"
    assert model["classes"] == ["red", "green", "blue"]
    assert not {"path", "folder"} & set(model)
    server.ask("POST", "/v1/predict", png(2))
    text = server.ask("GET", "/metrics").body.decode()
    assert 'classicnets_images_total{label="blue",model="tiny"}' in text
    assert 'classicnets_requests_total{route="/v1/predict",status="200"}' in text


def test_the_api_is_described_without_another_server(server: Server) -> None:
    page = server.ask("GET", "/docs").body.decode()
    assert "POST /v1/predict" in page
    assert f"http://127.0.0.1:{server.port}/v1/predict" in page
    assert "<script" not in page
    assert "https://" not in page
    assert server.ask("GET", "/page/style.css").headers["content-type"].startswith("text/css")


@pytest.fixture(scope="module")
def both(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tiny_classifier(("cat", "dog"), channels=3).save(tmp_path_factory.mktemp("network") / "pets")
    with running([Served("pets", folder), Served("tiny", bundle)]) as made:
        yield made


class TestNetwork:
    """A server of a classifier in PyTorch, which can explain, beside a bundle."""

    def test_a_map_as_a_picture_and_as_numbers(self, both: Server) -> None:
        picture = both.ask("POST", "/v1/explain?model=pets", png(0))
        assert picture.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(picture.body)).size[0] > 0
        numbers = both.ask("POST", "/v1/explain?model=pets&class=dog", png(0), {"Accept": "application/json"}).json()
        assert numbers["class"] == "dog"
        assert np.array(numbers["heat"]).ndim == 2

    def test_a_class_that_does_not_exist(self, both: Server) -> None:
        reply = both.ask("POST", "/v1/explain?model=pets&class=dig", png(0))
        assert reply.status == 400
        assert "dog" in reply.json()["error"]

    def test_the_model_must_be_chosen(self, both: Server) -> None:
        reply = both.ask("POST", "/v1/predict", png(0))
        assert (reply.status, json.loads(reply.body)["error"]) == (400, "Choose a model with ?model=NAME: pets, tiny.")
        assert both.ask("POST", "/v1/predict?model=tiny", png(0)).status == 200
